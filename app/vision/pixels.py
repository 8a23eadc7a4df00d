"""From any Pillow mode to 8-bit sRGB pixels as a screen shows them: depth, transparency and colour profiles."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from app.vision.icc import is_whole

_WHITE: Final = (255, 255, 255)
_DEEP_MODES: Final = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_ALPHA_MODES: Final = {"LA": "LA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"}

# TIFF 6.0 tags that say what the sample values mean.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO = 0
_SIGNED = 2

# ICC.1:2022, 7.2.6: the colour spaces a profile may describe, and the Pillow mode each one fits.
_PROFILE_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def to_srgb(image: Image.Image) -> Image.Image:
    """Converts a loaded image to mode RGB.

    Transparency is laid on white. An embedded RGB, grey or CMYK profile other than sRGB is applied (relative
    colorimetric, black point compensated); a damaged or unfitting one is ignored.

    Args:
        image: loaded, of any mode; ``image.info`` may hold ``icc_profile`` and ``transparency``.

    Returns:
        An image of mode RGB and the same size; the argument itself where nothing was to be done.

    Raises:
        ValueError: Pillow knows no way from this mode to RGB.
    """
    colour, alpha = _split_alpha(image)
    rgb = _apply_profile(colour, image.info.get("icc_profile"))
    if rgb is None:
        rgb = _lab_to_rgb(colour) if colour.mode == "LAB" else colour.convert("RGB") if colour.mode != "RGB" else colour
    if alpha is None or alpha.getextrema() == (255, 255):
        return rgb
    seen = Image.new("RGB", rgb.size, _WHITE)
    seen.paste(rgb, mask=alpha)
    return seen


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Separates colour (mode L, RGB, CMYK, YCbCr, LAB …) from opacity (mode L, 255 is opaque)."""
    key = image.info.get("transparency")
    if image.mode in _DEEP_MODES:
        return _deep_to_grey(image), _keyed_out(image, key)
    if image.mode in _ALPHA_MODES:
        whole = image if image.mode == _ALPHA_MODES[image.mode] else image.convert(_ALPHA_MODES[image.mode])
    elif image.mode in ("1", "L", "P", "RGB") and key is not None:
        whole = image.convert("RGBA")
    else:
        return (image.convert("RGB" if image.mode == "P" else "L") if image.mode in ("1", "P") else image), None
    alpha = whole.getchannel("A")
    return whole.convert("L" if whole.mode == "LA" else "RGB"), alpha


def _keyed_out(image: Image.Image, key: object) -> Image.Image | None:
    """Opacity of a 16-bit grey PNG whose tRNS chunk names one value as transparent."""
    if not isinstance(key, int):
        return None
    return Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))


def _deep_to_grey(image: Image.Image) -> Image.Image:
    """Scales samples of more than 8 bits, integer or float, to mode L: the whole range, nothing clipped."""
    tags = getattr(image, "tag_v2", {})
    samples = np.asarray(image)
    if image.mode == "F":
        grey = _float_to_unit(samples)
    else:
        bits = int(tags.get(_BITS_PER_SAMPLE, (16,))[0])
        signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
        if samples.dtype == np.int32 and not signed:
            samples = samples.view(np.uint32)  # Pillow stores unsigned 32-bit samples in a signed mode
        lowest = -(2 ** (bits - 1)) if signed else 0
        grey = (samples.astype(np.float32) - np.float32(lowest)) / np.float32(2**bits - 1)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 1 - grey
    return Image.fromarray(np.rint(np.clip(grey, 0, 1) * np.float32(255)).astype(np.uint8))


def _float_to_unit(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps float samples to 0…1: 0…1 is kept as it is, a wider range is stretched from its least to its greatest.

    Infinities count as the least or greatest finite sample, NaN as 0.
    """
    finite = np.isfinite(samples)
    low = float(samples.min(where=finite, initial=0.0))
    high = float(samples.max(where=finite, initial=1.0))
    bounded = np.nan_to_num(samples, nan=0.0, neginf=low, posinf=high).astype(np.float64)  # high − low may pass float32
    return ((bounded - low) / (high - low)).astype(np.float32)


def _apply_profile(colour: Image.Image, icc: object) -> Image.Image | None:
    """Converts to sRGB by the embedded profile; None where there is none to apply."""
    if not isinstance(icc, bytes) or not is_whole(icc):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = _PROFILE_MODES.get(profile.profile.xcolor_space.strip())
        if mode is None or ImageCms.getProfileDescription(profile).startswith("sRGB"):
            return None
        if colour.mode == "YCbCr" and mode == "RGB":
            colour = colour.convert("RGB")
        if colour.mode != mode:
            return None
        return ImageCms.profileToProfile(
            colour,
            profile,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError, UnicodeError):
        return None  # a damaged profile costs the colours' exactness, not the picture


def _lab_to_rgb(colour: Image.Image) -> Image.Image:
    """Converts mode LAB (CIELAB, D50), which Pillow's ``convert`` does not know."""
    converted = ImageCms.profileToProfile(
        colour, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if converted is None:  # only where the conversion is asked to happen in place
        raise ValueError("No conversion from LAB to RGB.")
    return converted
