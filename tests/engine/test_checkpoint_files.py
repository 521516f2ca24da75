"""Nothing in a checkpoint runs, and damage is found."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
import torch.distributed.checkpoint as dcp
from samarkand.engine.checkpoint_files import CheckpointReader, damaged_files, write_sums

KINDS = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)


@pytest.fixture
def folder(tmp_path):
    state = {str(kind): torch.ones(3, 2).to(kind) for kind in KINDS}
    dcp.save(state, checkpoint_id=tmp_path / "saved", no_dist=True)
    write_sums(tmp_path / "saved")
    return tmp_path / "saved"


def test_tensors_of_every_type_are_read(folder):
    state = {str(kind): torch.zeros(3, 2).to(kind) for kind in KINDS}
    dcp.load(state, storage_reader=CheckpointReader(folder), no_dist=True)
    assert all(bool(value.all()) for value in state.values())


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_metadata_run_nothing(folder, tmp_path):
    (folder / ".metadata").write_bytes(pickle.dumps(Attack(tmp_path / "owned")))
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        CheckpointReader(folder).read_metadata()
    assert not (tmp_path / "owned").exists()


def test_damage_is_found_by_one_of_the_processes(folder):
    assert damaged_files(folder) == []
    (shard,) = folder.glob("*.distcp")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    (folder / ".metadata").unlink()
    assert damaged_files(folder) == [".metadata", shard.name]
    assert [damaged_files(folder, part, 3) for part in range(3)] == [[".metadata"], [shard.name], []]
    (folder / "checksums.json").write_text("{")
    assert damaged_files(folder) == ["checksums.json"]


def test_damage_of_the_checksums_is_not_told_as_damage_of_others(folder):
    content = (folder / "checksums.json").read_bytes()
    for index, byte in enumerate(content):
        (folder / "checksums.json").write_bytes(content[:index] + bytes([byte ^ 1]) + content[index + 1 :])
        assert damaged_files(folder) == ["checksums.json"], index
