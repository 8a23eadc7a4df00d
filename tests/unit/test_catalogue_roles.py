"""The roles' contracts, and that the default set keeps them."""

from __future__ import annotations

import re

import pytest

from app.catalogue.models import DEFAULT_MODELS, FACE_QUALITY, IMAGE_EMBEDDER, Model
from app.catalogue.roles import ANY, CONTRACTS, Datatype, Role, Tensor


def test_an_open_axis_admits_any_length_and_a_fixed_one_only_its_own() -> None:
    promise = Tensor("X", Datatype.FP32, (ANY, 3))
    assert promise.admits(Tensor("X", Datatype.FP32, (7, 3)))
    assert promise.admits(Tensor("X", Datatype.FP32, (ANY, 3)))
    assert not promise.admits(Tensor("X", Datatype.FP32, (7, 4)))
    assert not promise.admits(Tensor("X", Datatype.FP32, (7, ANY)))


@pytest.mark.parametrize(
    "other",
    [
        Tensor("Y", Datatype.FP32, (ANY, 3)),
        Tensor("X", Datatype.UINT8, (ANY, 3)),
        Tensor("X", Datatype.FP32, (3,)),
    ],
)
def test_another_name_type_or_number_of_axes_breaks_the_promise(other: Tensor) -> None:
    assert not Tensor("X", Datatype.FP32, (ANY, 3)).admits(other)


def test_every_role_has_a_contract_and_one_default_model() -> None:
    assert set(CONTRACTS) == set(Role)
    assert sorted(model.role for model in DEFAULT_MODELS) == sorted(Role)


@pytest.mark.parametrize("model", DEFAULT_MODELS, ids=lambda model: model.role)
def test_a_default_model_only_narrows_its_roles_contract(model: Model) -> None:
    contract = CONTRACTS[model.role]
    promised, given = (*contract.inputs, *contract.outputs), (*model.inputs, *model.outputs)
    assert len(promised) == len(given)
    assert all(mine.admits(theirs) for mine, theirs in zip(promised, given, strict=True))


@pytest.mark.parametrize("model", DEFAULT_MODELS, ids=lambda model: model.role)
def test_a_default_model_names_its_licence_and_a_whole_checksum(model: Model) -> None:
    assert model.licence
    assert re.fullmatch("[0-9a-f]{64}", model.weights_sha256)
    assert re.fullmatch("[0-9a-f]{64}", model.source.archive_sha256)
    assert model.source.requirement.startswith(f"{model.source.package}=={model.source.version} --hash=sha256:")
    own = model in (FACE_QUALITY, IMAGE_EMBEDDER)  # what the project trained for them has its own checksum
    assert (model.weights_sha256 == model.source.member_sha256) != own
