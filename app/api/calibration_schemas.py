"""The shapes of a calibration's request and answer."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from app.api.schemas import Count, Score

IDENTITIES = ("tag", "id")
MAX_RATES = 10

Share = Annotated[float, Meta(ge=0, le=1)]
Pairs = Annotated[int, Meta(ge=0, description="Number of pairs.")]
Interval = Annotated[
    list[Share],
    Meta(
        min_length=2,
        max_length=2,
        description="95 % confidence interval (Wilson). It takes pairs as independent, and they are not: each image is "
        "in many of them, so the true interval is wider.",
    ),
]


class CalibrateGroup(Struct):
    """Asks which thresholds suit a group."""

    identity: (
        Annotated[
            str,
            Meta(
                description="Whose image a row is: its `tag` (missing, empty: this one; rows of the tag `default` are "
                "left out), or a part of its `id`.",
                extra_json_schema={"enum": list(IDENTITIES)},
            ),
        ]
        | None
    ) = None
    pattern: (
        Annotated[
            str,
            Meta(
                description="Only with `id`: how ids are made. Literal text with `{identity}` once and at most 8 `*`, "
                "each of which stands for as little as possible, from left to right, the last for what is left. Rows "
                "whose ids do not match are left out.",
                examples=["{identity}-*"],
            ),
        ]
        | None
    ) = None
    fmr: (
        Annotated[
            list[Annotated[float, Meta(gt=0, lt=1)]],
            Meta(
                max_length=MAX_RATES,
                description="False match rates for which thresholds are wanted; empty or missing: 0.01, 0.001, 0.0001.",
            ),
        ]
        | None
    ) = None
    plot: Annotated[bool, Meta(description="Whether to draw the answer as well.")] | None = None


class ScoreDistribution(Struct):
    """The scores of one kind of pairs."""

    pairs: Pairs
    mean: Score
    median: Score
    percentiles: Annotated[
        dict[str, Score],
        Meta(description="By per cent: the lowest score that this part of the pairs does not exceed."),
    ]
    histogram: Annotated[
        list[Pairs], Meta(description="Pairs in 40 bins of 0.025: from 0 to under 0.025, …, from 0.975 to 1.")
    ]


class ThresholdRates(Struct):
    """What a threshold does: which pairs score at or over it."""

    threshold: Score
    fmr: Annotated[Share, Meta(description="False match rate: the share of pairs of different identities.")]
    fmr_interval: Interval
    false_matches: Pairs
    tpr: Annotated[
        Share, Meta(description="True match rate (1 − false non-match rate): the share of pairs of the same identity.")
    ]
    tpr_interval: Interval
    true_matches: Pairs


class WantedRate(Struct):
    """The threshold for a wanted false match rate."""

    fmr: Annotated[Share, Meta(description="The rate that is wanted.")]
    reliable: Annotated[
        bool,
        Meta(
            description="Whether the group has pairs enough to show so low a rate: at least 3 / `fmr` of different "
            "identities (the rule of three)."
        ),
    ]
    found: Annotated[
        ThresholdRates | None,
        Meta(description="The lowest threshold whose rate is not higher; null where even 1 is reached by more pairs."),
    ]


class GroupCalibration(Struct):
    """How well scores tell the identities of a group apart."""

    model: Annotated[str, Meta(description="The model that made the embeddings.")]
    count: Annotated[Count, Meta(description="Images of the group.")]
    left_out: Annotated[Count, Meta(description="Images without an identity.")]
    rows: Annotated[Count, Meta(description="Images that were compared, at most 10,000.")]
    identities: Annotated[Count, Meta(description="Whose images these are.")]
    sampled: Annotated[
        bool,
        Meta(description="Whether images with an identity were passed over: too many. The sample is always the same."),
    ]
    default_threshold: Annotated[Score, Meta(description="The threshold of searches that name none.")]
    same: Annotated[ScoreDistribution, Meta(description="Of pairs of the same identity.")]
    different: Annotated[ScoreDistribution, Meta(description="Of pairs of different identities.")]
    thresholds: Annotated[
        list[ThresholdRates], Meta(description="At 0.05, 0.1, … 0.95 and at the default threshold, in order.")
    ]
    wanted: Annotated[list[WantedRate], Meta(description="One entry per wanted rate, in order.")]
    plot: Annotated[str, Meta(description="An SVG of 900 × 360 pixels, where `plot` was asked for.")] | UnsetType = (
        UNSET
    )
