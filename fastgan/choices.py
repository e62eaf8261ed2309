"""What can be chosen by name, and where each of it is: names are read without importing anything of it."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Mapping
from typing import Any

# name -> "module:attribute"
MODELS: dict[str, str] = {  # of a `fastgan.models.Family`
    "stylegan2": "fastgan.models.stylegan2:FAMILY",
    "stylegan3-t": "fastgan.models.stylegan3:T",
    "stylegan3-r": "fastgan.models.stylegan3:R",
    "dcgan": "fastgan.models.dcgan:FAMILY",
    "r3gan": "fastgan.models.r3gan:FAMILY",
    "pix2pix": "fastgan.models.pix2pix:FAMILY",
    "cyclegan": "fastgan.models.cyclegan:FAMILY",
}
DATA_KINDS: dict[str, str] = {  # of a `fastgan.train.sets.DataKind`
    "images": "fastgan.train.sets:IMAGES",
    "pairs": "fastgan.train.sets:PAIRS",
    "two-sets": "fastgan.train.sets:TWO_SETS",
}
PACKAGED: dict[str, str] = {  # name -> file in fastgan/data/assets
    "emoji64": "emoji64.zip",
}
ADVERSARIAL: dict[str, str] = {  # of a `fastgan.losses.Pairwise`
    "nonsaturating": "fastgan.losses.adversarial:NONSATURATING",
    "wasserstein": "fastgan.losses.adversarial:WASSERSTEIN",
    "hinge": "fastgan.losses.adversarial:HINGE",
    "lsgan": "fastgan.losses.adversarial:LSGAN",
    "relativistic": "fastgan.losses.adversarial:RELATIVISTIC",
}
PENALTIES: dict[str, str] = {  # of a `fastgan.losses.Penalty`
    "r1": "fastgan.losses.penalties:R1",
    "r2": "fastgan.losses.penalties:R2",
    "wgan-gp": "fastgan.losses.penalties:WGAN_GP",
    "wgan-lp": "fastgan.losses.penalties:WGAN_LP",
    "zero-gp": "fastgan.losses.penalties:ZERO_GP",
    "dragan": "fastgan.losses.penalties:DRAGAN",
}
AUGMENTS: dict[str, str] = {  # of a function (options, channels, device) -> `fastgan.augment.Augment`
    "ada": "fastgan.augment.ada:ADA.adaptive",
    "fixed": "fastgan.augment.ada:ADA.fixed",
    "diffaug": "fastgan.augment.diffaug:DiffAugment.of",
    "blur": "fastgan.augment.blur:FadingBlur.of",
    "instance-noise": "fastgan.augment.instance_noise:InstanceNoise.of",
}
AUGPIPES: dict[str, str] = {  # groups of ADA's transforms
    "blit": "blit",
    "geom": "geometry",
    "color": "color",
    "filter": "filter",
    "noise": "noise",
    "cutout": "cutout",
    "bg": "blit geometry",
    "bgc": "blit geometry color",
    "bgcf": "blit geometry color filter",
    "bgcfn": "blit geometry color filter noise",
    "bgcfnc": "blit geometry color filter noise cutout",
}
DIFFAUG = ("color", "translation", "cutout")  # groups of DiffAugment's transforms
METRICS: dict[str, str] = {  # of a `fastgan.metrics.Metric` or `GeneratorMetric`
    "swd": "fastgan.metrics.sliced_wasserstein:SWD",
    "spectrum": "fastgan.metrics.spectrum:SPECTRUM",
    "kid_wavelet": "fastgan.metrics.kernel:WAVELET",
    "fd_wavelet": "fastgan.metrics.frechet:WAVELET",
    "pr_wavelet": "fastgan.metrics.precision_recall:PR_WAVELET",
    "dc_wavelet": "fastgan.metrics.precision_recall:DC_WAVELET",
    "kid_effnetlite0": "fastgan.metrics.kernel:EFFNETLITE0",
    "fd_effnetlite0": "fastgan.metrics.frechet:EFFNETLITE0",
    "pr_effnetlite0": "fastgan.metrics.precision_recall:PR_EFFNETLITE0",
    "dc_effnetlite0": "fastgan.metrics.precision_recall:DC_EFFNETLITE0",
    "copies_pixels": "fastgan.metrics.memorisation:PIXELS",
    "copies_wavelet": "fastgan.metrics.memorisation:WAVELET",
    "copies_effnetlite0": "fastgan.metrics.memorisation:EFFNETLITE0",
    "fid50k_full": "fastgan.metrics.frechet:FID50K_FULL",
    "kid50k_full": "fastgan.metrics.kernel:KID50K_FULL",
    "is50k": "fastgan.metrics.inception_score:IS50K",
    "pr50k3_full": "fastgan.metrics.precision_recall:PR50K3_FULL",
    "ppl_w_end_wavelet": "fastgan.metrics.ppl:W_END_WAVELET",
    "ppl_z_full_wavelet": "fastgan.metrics.ppl:Z_FULL_WAVELET",
    "ppl2_wend": "fastgan.metrics.ppl:PPL2_WEND",
    "eqt50k_int": "fastgan.metrics.equivariance:EQT50K_INT",
    "eqt50k_frac": "fastgan.metrics.equivariance:EQT50K_FRAC",
    "eqr50k": "fastgan.metrics.equivariance:EQR50K",
    "dc50k5_full": "fastgan.metrics.precision_recall:DC50K5_FULL",
}
EXTRACTORS: dict[str, str] = {  # of a function (device, weights) -> `fastgan.metrics.extractors.Extractor`
    "pixels": "fastgan.metrics.extractors.pixels:Pixels",
    "wavelet": "fastgan.metrics.extractors.wavelet:Wavelet",
    "effnetlite0": "fastgan.metrics.extractors.effnetlite0:EffNetLite0",
    "inception": "fastgan.metrics.extractors.inception:Inception",
    "vgg16": "fastgan.metrics.extractors.vgg16:VGG16",
}
TRANSFORMS: dict[str, str] = {  # of a function (image, (H, W)) -> image
    "center-crop": "fastgan.data.image:center_crop",
    "center-crop-wide": "fastgan.data.image:center_crop_wide",
}
DRAWINGS: dict[str, str] = {  # of a function image -> image, what a pair is drawn of its picture
    "grey": "fastgan.data.drawings:grey",
    "edges": "fastgan.data.drawings:edges",
}


def chosen(table: Mapping[str, str], name: str) -> Any:
    """What the name stands for in a table, imported at this moment."""
    return imported(table[name])


def imported(place: str) -> Any:
    """The attribute of a module that "module:attribute" names, imported at this moment."""
    module, attribute = place.split(":")
    return operator.attrgetter(attribute)(importlib.import_module(module))
