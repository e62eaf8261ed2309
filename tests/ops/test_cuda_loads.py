"""What only machine code shows of the CUDA kernels: that the loads of a chunk do not wait for one another, and that
TF32 operands are rounded before the products, not in them.
"""

from __future__ import annotations

import re

import pytest

from tests.native import sass

pytestmark = pytest.mark.thorough

# Kernels whose threads load several packets before they use the first. Weight gradients that are streamed load none.
LOADING = {
    "bias_act": r"bias_act_(flat|rows|columns)_kernel",
    "conv2d": r"conv2d_kernel",
    "conv2d_epilogue": r"epilogue_(forward|backward|rows|columns)_kernel",
    "conv2d_up": r"conv2d_up_kernel",
    "gradient_penalty": r"gradient_penalty_kernel",
    "conv2d_weight_gradient": r"conv2d_weight_gradient_kernel.*, false>",
}
TF32 = r"conv2d\w*_kernel<\w+<float, (TensorRows|true)"

# Two rows of a chunk in halves: an address, the load, what takes its halves apart.
LOADS = """
\tcode for sm_90a
\t\tFunction : kernel
        /*0000*/                   LDC R1, c[0x0][0x28] ;                     /* 0x00000a00ff017b82 */
                                                                              /* 0x000fe20000000800 */
        /*0010*/              @!P0 BRA 0x80 ;                                 /* 0x0000000000148947 */
        /*0020*/                   LDG.E.128 R4, desc[UR4][R2.64] ;           /* 0x0000000402047981 */
{between}
        /*0050*/                   BSSY B0, 0x80 ;                            /* 0x0000002000007945 */
        /*0060*/               @P1 BRA 0x70 ;                                 /* 0x0000000000041947 */
        /*0064*/                   LDG.E.128.CONSTANT R8, desc[UR4][R12.64] ; /* 0x0000000c0c087981 */
        /*0070*/                   BSYNC B0 ;                                 /* 0x0000000000007941 */
        /*0080*/                   PRMT R20, R5, 0x7632, R20 ;                /* 0x0000763205147816 */
        /*0090*/                   PRMT R21, R8, 0x7632, R21 ;                /* 0x0000763208157816 */
        /*00a0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;              /* 0x0000000000007b1d */
        /*00b0*/                   LDG.E.128 R4, desc[UR4][R2.64] ;           /* 0x0000000402047981 */
        /*00c0*/               @P2 BRA 0x20 ;                                 /* 0xfffffffc00d02947 */
        /*00d0*/                   EXIT ;                                     /* 0x000000000000794d */
"""
BETWEEN = {
    "nothing": ("", False),
    "use": ("/*0030*/ PRMT R20, R5, 0x5410, R5 ;", True),
    "conditional use": ("/*0030*/ @P3 HADD2.F32 R20, -RZ, R7.H1_H1 ;", True),
    "address": ("/*0030*/ IADD3 R12, P0, R2, 0x40, RZ ;", False),
    "overwritten": ("/*0030*/ CS2R R4, SRZ ;\n/*0034*/ MOV R5, RZ ;\n/*0040*/ FADD R9, R5, R4 ;", False),
    "barrier": ("/*0030*/ BAR.SYNC 0x0 ;\n/*0040*/ FADD R9, R5, R4 ;", False),
    "copies": ("/*0030*/ LDGDEPBAR ;\n/*0040*/ STS.128 [R9], R4 ;", False),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_waits(between):
    snippet, waits = BETWEEN[between]
    ((key, code),) = sass.parse(LOADS.format(between=snippet)).items()
    assert key == ("sm_90a", "kernel") and code[-1].opcode == "EXIT"
    found = [(load.address, later.address) for load, _, later in sass.waits(code)]
    assert found == ([(0x20, 0x64)] if waits else [])


ROUNDED = """
\tcode for sm_80
\t\tFunction : kernel
        /*0000*/                   LDS.128 R4, [R0] ;
        /*0010*/                   FSETP.GEU.AND P6, PT, |R5|, +INF , PT ;
        /*0020*/              @!P6 IADD3 R5, R5, 0x1000, RZ ;
{through}
        /*0050*/                   HMMA.1688.F32.TF32 R8, R4, R12, R8 ;
        /*0060*/                   EXIT ;
"""


def test_rounded_operands():
    memory = "/*0030*/ STS.128 [R0], R4 ;\n/*0034*/ BAR.SYNC 0x0 ;\n/*0040*/ LDSM.16.M88.4 R4, [R0] ;"
    for through, rounded in (("/*0030*/ MOV R12, R5 ;", True), (memory, False), ("/*0030*/ MOV R5, RZ ;", False)):
        ((_, code),) = sass.parse(ROUNDED.format(through=through)).items()
        assert [(each.address, product.address) for each, product in sass.rounded_operands(code)] == (
            [(0x10, 0x50)] if rounded else []
        )


@pytest.mark.parametrize("op", LOADING)
def test_loads_do_not_wait(cuda_library, op):
    kernels = {name: code for name, code in sass.of_library().items() if re.match(LOADING[op], name)}
    assert {name.split()[-1] for name in kernels} == set(cuda_library)
    loads = sum(each.is_wide_load for code in kernels.values() for each in code)
    assert loads > 2 * len(kernels), "cuobjdump prints loads in another way"
    assert [
        f"{name}: the load at {load.address:#x} is waited for at {use.address:#x}, before that at {later.address:#x}"
        for name, code in kernels.items()
        for load, use, later in sass.waits(code)
    ] == []


def test_products_round_nothing(cuda_library):
    kernels = {name: code for name, code in sass.of_library().items() if re.match(TF32, name)}
    assert {name.split()[-1] for name in kernels} == set(cuda_library)
    assert [
        f"{name} {each.address:#x}" for name, code in kernels.items() for each, _ in sass.rounded_operands(code)
    ] == []
