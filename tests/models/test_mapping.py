from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fastgan.models.mapping import MappingNetwork


def mapping(num_classes: int = 0, style_mixing: float = 0.0, num_ws: int = 6) -> Any:
    torch.manual_seed(0)
    return MappingNetwork(5, num_classes, 4, 2, num_ws, w_avg_beta=0.9, style_mixing=style_mixing).double()


def latents(n=3):
    return torch.randn(n, 5, dtype=torch.float64)


def test_matches_the_formula_with_labels():
    M = mapping(num_classes=2)
    z, c = latents(2), torch.eye(2, dtype=torch.float64)
    e = c @ M.embed.weight.t() / math.sqrt(2) + M.embed.bias
    x = torch.cat([v * (v.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt() for v in (z, e)], dim=1)
    for layer in M.layers:
        x = F.leaky_relu(x @ layer.weight.t() * (0.01 / math.sqrt(x.shape[1])) + layer.bias * 0.01, 0.2) * math.sqrt(2)
    torch.testing.assert_close(M(z, c), x[:, None].repeat(1, 6, 1))


def test_scale_of_z_does_not_matter():
    M, z = mapping(), latents()
    torch.testing.assert_close(M(z), M(10 * z), rtol=1e-6, atol=1e-8)


def test_w_avg_moves_only_with_update_emas():
    M, z = mapping(), latents()
    M(z)
    M.eval()(z)
    assert M.w_avg.abs().max() == 0
    ws = M(z, update_emas=True)
    torch.testing.assert_close(M.w_avg, 0.1 * ws[:, 0].mean(dim=0))
    before = M.w_avg.clone()
    M(z, update_emas=True)
    torch.testing.assert_close(M.w_avg, 0.9 * before + 0.1 * ws[:, 0].mean(dim=0))
    assert not M.w_avg.requires_grad


def test_truncation():
    M, z = mapping().eval(), latents()
    M.w_avg.normal_()
    ws = M(z)
    torch.testing.assert_close(M(z, truncation_psi=0), M.w_avg.expand(3, 6, 4))
    torch.testing.assert_close(M(z, truncation_psi=0.7), M.w_avg + 0.7 * (ws - M.w_avg))
    cut = M(z, truncation_psi=0.5, truncation_cutoff=2)
    assert torch.equal(cut[:, 2:], ws[:, 2:])
    torch.testing.assert_close(cut[:, :2], (M.w_avg + ws[:, :2]) / 2)


def test_mixing_only_in_training():
    M, z = mapping(style_mixing=1.0), latents()
    ws = M.eval()(z)
    assert torch.equal(ws, ws[:, :1].expand_as(ws))
    mixed = M.train()(z)
    assert not torch.equal(mixed[:, -1], mixed[:, 0])
    assert torch.equal(mixed[:, 0], ws[:, 0])


def test_one_cutoff_a_batch_between_one_and_num_ws():
    M, z = mapping(style_mixing=1.0, num_ws=4), latents()
    first = M.w(z, None)
    cutoffs = set()
    for _ in range(60):
        kept = (M(z) == first[:, None]).all(dim=2)  # [N, num_ws]
        assert torch.equal(kept, kept[:1].expand_as(kept))
        cutoff = int(kept[0].sum())
        assert kept[0, :cutoff].all()
        cutoffs.add(cutoff)
    assert cutoffs == {1, 2, 3}


def test_mixing_probability():
    M, z = mapping(style_mixing=0.25), latents(1)
    first = M.w(z, None)
    mixed = sum(not torch.equal(M(z)[:, -1], first) for _ in range(400))
    assert 70 <= mixed <= 130  # 100 ± 3.5 standard deviations


def test_function_of_the_label_alone():
    M = MappingNetwork(0, 3, 4, 2)
    c = torch.eye(3)
    assert M.w(None, c).shape == (3, 4)
    assert "w_avg" not in M.state_dict()
    with pytest.raises(ValueError, match="truncation_psi must be 1 for a mapping network without w_avg"):
        M(torch.zeros(3, 0), c, truncation_psi=0.5)


def test_errors():
    M = mapping(num_classes=2)
    with pytest.raises(ValueError, match=r"z must have shape \[N, z_dim\]=\[N, 5\], got \[3, 4\]"):
        M(latents()[:, :4])
    with pytest.raises(ValueError, match=r"c must have shape \[N, num_classes\]=\[3, 2\], got \[3, 3\]"):
        M(latents(), torch.eye(3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"c must have shape \[N, num_classes\]=\[3, 0\], got \[3, 1\]"):
        mapping()(latents(), torch.ones(3, 1))
