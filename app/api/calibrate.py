"""Calibrating a group over HTTP, alike for both families."""

from __future__ import annotations

from app.access.key import KeyRole
from app.api import calibration_schemas as shapes
from app.api import validation
from app.api.calibration_example import CALIBRATION
from app.api.operations import Call, Operation
from app.errors import DeadlineExceeded, GroupNotFound, InvalidRequest, ModelMismatch, NotCalibratable
from app.services.calibrate import CalibrationReport, CalibrationWish
from app.services.calibration_plot import calibration_svg
from app.services.error_rates import PERCENTS, Distribution, Rates, WantedRate
from app.services.identities import ByPattern, ByTag, IdentityRule
from app.store.records import Family

_DEFAULT_RATES = (0.01, 0.001, 0.0001)
_DECIMALS = 9


def calibrate_operations(family: Family) -> list[Operation]:
    """The operation that calibrates a group of one family."""
    faces = family is Family.FACE

    async def calibrate(call: Call) -> shapes.GroupCalibration:
        name = validation.group_name(call.path["name"], faces=faces)
        wish = CalibrationWish(
            identities=_identities(call.body),
            rates=tuple(call.body.fmr or _DEFAULT_RATES),
            default_threshold=call.settings.face_threshold if faces else call.settings.image_threshold,
        )
        report = await call.services.calibrate.calibrate(family, name, wish)
        answer = _shape(report)
        if call.body.plot:
            answer.plot = calibration_svg(name, report)
        return answer

    return [
        Operation(
            "POST",
            f"/v1/{family}/groups/{{name}}/calibrate",
            f"calibrate{'Face' if faces else 'Image'}Group",
            "Face groups" if faces else "Image groups",
            "Learn which threshold suits a group",
            calibrate,
            shapes.GroupCalibration,
            body=shapes.CalibrateGroup,
            doc="All images of the group whose identities are known are compared with each other: the scores of pairs "
            "of the same and of different identities, the shares of both that reach a threshold, and the thresholds "
            "for wanted false match rates. The words are those of ISO/IEC 19795-1; a pair counts where its score is at "
            "or over the threshold, as in a search. Of a group with more than 10,000 such images a sample is compared. "
            "The rates are those of this group: they say little of images that are made or chosen in another way.",
            errors=(NotCalibratable, GroupNotFound, ModelMismatch, DeadlineExceeded),
            body_example={"identity": "id", "pattern": "{identity}-*", "fmr": [0.001]},
            answer_example=CALIBRATION,
            role=KeyRole.READ,
        )
    ]


def _identities(body: shapes.CalibrateGroup) -> IdentityRule:
    """Whose image a row is.

    Raises:
        InvalidRequest: the way to tell is unknown, or does not fit the pattern.
    """
    kind = body.identity or shapes.IDENTITIES[0]
    if kind not in shapes.IDENTITIES:
        message = f"identity is {kind!r}: it must be `tag` or `id`."
        raise InvalidRequest(message)
    if kind == "tag":
        if body.pattern:
            message = 'pattern is for ids: send it with "identity": "id", or leave it out.'
            raise InvalidRequest(message)
        return ByTag()
    if not body.pattern:
        message = "pattern is missing: write how ids are made, for example `{identity}-*`."
        raise InvalidRequest(message)
    return ByPattern.of(body.pattern)


def _shape(report: CalibrationReport) -> shapes.GroupCalibration:
    rates = report.rates
    return shapes.GroupCalibration(
        model=report.model_id,
        count=report.count,
        left_out=report.left_out,
        rows=report.rows,
        identities=report.identities,
        sampled=report.sampled,
        default_threshold=report.default_threshold,
        same=_distribution(rates.same),
        different=_distribution(rates.different),
        thresholds=[_rates(each) for each in rates.thresholds],
        wanted=[_wanted(each) for each in rates.wanted],
    )


def _distribution(scores: Distribution) -> shapes.ScoreDistribution:
    percentiles = {str(percent): score for percent, score in zip(PERCENTS, scores.percentiles, strict=True)}
    return shapes.ScoreDistribution(
        scores.pairs, round(scores.mean, _DECIMALS), scores.median, percentiles, list(scores.histogram)
    )


def _rates(rates: Rates) -> shapes.ThresholdRates:
    return shapes.ThresholdRates(
        threshold=rates.threshold,
        fmr=round(rates.false.rate, _DECIMALS),
        fmr_interval=[round(each, _DECIMALS) for each in rates.false.interval],
        false_matches=rates.false.matches,
        tpr=round(rates.true.rate, _DECIMALS),
        tpr_interval=[round(each, _DECIMALS) for each in rates.true.interval],
        true_matches=rates.true.matches,
    )


def _wanted(wanted: WantedRate) -> shapes.WantedRate:
    return shapes.WantedRate(wanted.rate, wanted.reliable, None if wanted.found is None else _rates(wanted.found))
