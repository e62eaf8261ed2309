"""Layers of the alias-free generator. Source: Karras et al. 2021 (StyleGAN3), section 3 and appendices C and F."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from fastgan.nn.equalized import EqualizedLinear
from fastgan.nn.initial import normal
from fastgan.nn.lowpass import lowpass, radial_lowpass
from fastgan.nn.resampling import Constants
from fastgan.nn.signals import Signal, crossing
from fastgan.ops import conv2d_resample, filtered_lrelu, modulated_conv2d
from fastgan.ops.arguments import dense_format, in_format

MAGNITUDE_HALF_LIFE = 20_000  # images


class FourierFeatures(Constants):
    """x[n, o, p] = Σ_i weight[o, i]/√C · a_i·sin 2π(f_i·M_n p + φ_i): waves in the plane, moved by w, and mixed.

    M_n = R·T·transform, with a rotation R and a translation T that are learned functions of w. Frequencies are uniform
    in the disc of the signal's cut-off, phases in a turn. a_i falls in a straight line from 1 at that cut-off to 0 at
    half the sampling rate, where M_n makes waves finer than that.

    Args:
        signal: what it gives; one unit of p is the larger side of the picture, p = 0 its middle.
        w_dim: length of w.

    Source: Karras et al. 2021 (StyleGAN3), section 3.1 and appendix F.
    """

    freqs: Tensor
    phases: Tensor
    places: Tensor

    def __init__(self, signal: Signal, w_dim: int) -> None:
        super().__init__()
        self.signal, channels = signal, signal.channels
        g = normal(channels, 2)
        radius = g.norm(dim=1, keepdim=True).clamp_min(1e-9)
        self.register_buffer("freqs", g / (radius * (radius.square() / 4).exp()) * signal.cutoff)
        self.register_buffer("phases", torch.rand(channels, dtype=torch.float32).to(g.dtype) - 0.5)
        self.affine = EqualizedLinear(w_dim, 4)  # -> (cos, sin) of the inverse rotation, before scaling, translation
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))  # type: ignore[union-attr]
        self.weight = nn.Parameter(normal(channels, channels))
        # Four axes, so that the memory format in which features are made is that of the module.
        self.keep("places", partial(_places, signal.size, signal.rate))

    def forward(self, w: Tensor, transform: Tensor | None = None) -> Tensor:
        """w [N, w_dim], transform [3, 3] or [N, 3, 3], None for the identity -> [N, channels, h, w]."""
        t = self.affine(w).to(self.freqs.dtype)
        c, s, tx, ty = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(dim=1)
        turn = torch.stack([c, -s, s, c], dim=1).unflatten(1, (2, 2))  # [N, 2, 2]
        shift = -_applied(turn, torch.stack([tx, ty], dim=1))  # [N, 2]
        if transform is not None:
            shift = shift + _applied(turn, transform[..., :2, 2].expand(shift.shape))
            turn = (turn[:, :, :, None] * transform[..., None, :2, :2]).sum(dim=2)
        freqs = (self.freqs[:, :, None] * turn[:, None]).sum(dim=2)  # [N, C, 2], f M
        phases = self.phases + (self.freqs * shift[:, None]).sum(dim=2)  # [N, C]
        fade = (freqs.norm(dim=2) - self.signal.cutoff) / (self.signal.rate / 2 - self.signal.cutoff)
        x, y = self.places[0, :, :, :, None].unbind(dim=0)  # [h, w, 1]
        fx, fy = freqs[:, None, None].unbind(dim=4)  # [N, 1, 1, C]
        waves = torch.sin(2 * math.pi * (fx * x + fy * y + phases[:, None, None]))
        waves = (waves * (1 - fade).clamp(0, 1)[:, None, None]).permute(0, 3, 1, 2)
        waves = in_format(waves.to(self.weight.dtype), dense_format(self.places))
        return conv2d_resample(waves, (self.weight / math.sqrt(self.signal.channels))[:, :, None, None])


def _applied(matrix: Tensor, vector: Tensor) -> Tensor:
    """matrix [N, 2, 2] · vector [N, 2], in their dtype whatever autocast says."""
    return (matrix * vector[:, None, :]).sum(dim=2)


def _places(size: tuple[int, int], rate: int, device: torch.device | None = None) -> Tensor:
    """(x, y) of the centres of pixels, [1, 2, h, w], 0 in the middle."""
    y, x = ((torch.arange(length, device=device) + (0.5 - length / 2)) / rate for length in size)
    return torch.stack([x.expand(size), y[:, None].expand(size)])[None].float()


class _Normalised(Constants):
    """A modulated layer whose input is divided by the root of its average second moment."""

    magnitude_ema: Tensor

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, kernel_size: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(normal(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("magnitude_ema", torch.ones([]))

    def input_gain(self, x: Tensor, update_emas: bool) -> Tensor:
        """1/√(average of x²), 0-dimensional, where the average follows x first if update_emas says so."""
        if update_emas:
            moment = x.detach().to(torch.promote_types(x.dtype, torch.float32)).square().mean()
            decay = 0.5 ** (x.shape[0] / MAGNITUDE_HALF_LIFE)
            self.magnitude_ema.lerp_(moment.to(self.magnitude_ema.dtype), 1 - decay)
        return self.magnitude_ema.rsqrt()


class AliasFreeLayer(_Normalised):
    """y = ↓(fd ∗ lrelu(fu ∗ ↑(modulated_conv2d(x / rms, weight, styles = A(w)) + b))·√2): the non-linearity acts at a
    higher rate, and what it adds beyond the signal's cut-off is filtered away.

    The up-sampling filter is made for the signal before, the down-sampling one for that after.

    Args:
        before: the signal that comes.
        after: the signal that it becomes.
        w_dim: length of w.
        kernel_size: k, odd.
        radial: the down-sampling filter is the same in all directions, unless the signal is critically sampled.
        clamp: bound on the output's magnitude; None: none.

    Source: Karras et al. 2021 (StyleGAN3), figure 4b.
    """

    fu: Tensor | None
    fd: Tensor | None

    def __init__(
        self,
        before: Signal,
        after: Signal,
        w_dim: int,
        *,
        kernel_size: int = 3,
        radial: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__(before.channels, after.channels, w_dim, kernel_size, clamp)
        self.padding = kernel_size - 1
        self.crossing = crossing(before, after, kernel_size)
        rate = before.rate * self.crossing.up
        radial = radial and after.cutoff < after.rate / 2
        for name, signal, factor, taps, design in (
            ("fu", before, self.crossing.up, self.crossing.up_taps, lowpass),
            ("fd", after, self.crossing.down, self.crossing.down_taps, radial_lowpass if radial else lowpass),
        ):
            filtered = partial(design, taps, signal.cutoff, signal.half_width, rate)
            self.keep(name, filtered if factor > 1 else None)

    def forward(self, x: Tensor, w: Tensor, update_emas: bool = False) -> Tensor:
        """x [N, I, h, w], w [N, w_dim] -> [N, O, h', w']; update_emas: let the average of x² follow."""
        input_gain = self.input_gain(x, update_emas)
        styles = self.affine(w).to(self.weight.dtype)
        styles = styles * styles.square().mean().rsqrt()
        weight = self.weight * self.weight.square().mean(dim=[1, 2, 3], keepdim=True).rsqrt()
        x = modulated_conv2d(x, weight, styles, padding=self.padding, input_gain=input_gain)
        up, down, padding = self.crossing.up, self.crossing.down, self.crossing.padding
        return filtered_lrelu(x, self.fu, self.fd, self.bias, up, down, padding, clamp=self.clamp)


class AliasFreeToRGB(_Normalised):
    """y = modulated_conv2d(x / rms, weight [C, I, 1, 1], styles = A(w)/√I, no demodulation) + b.

    Args:
        in_channels: I.
        img_channels: C.
        w_dim: length of w.
        clamp: bound on the output's magnitude; None: none.

    Source: Karras et al. 2021 (StyleGAN3), appendix C.
    """

    def __init__(self, in_channels: int, img_channels: int, w_dim: int, *, clamp: float | None = None) -> None:
        super().__init__(in_channels, img_channels, w_dim, 1, clamp)
        self.style_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor, update_emas: bool = False) -> Tensor:
        """x [N, I, H, W], w [N, w_dim] -> [N, C, H, W]; update_emas: let the average of x² follow."""
        input_gain = self.input_gain(x, update_emas)
        styles = self.affine(w) * self.style_gain
        return modulated_conv2d(
            x, self.weight, styles, demodulate=False, input_gain=input_gain, b=self.bias, clamp=self.clamp
        )
