"""Text as word-pieces in one compressed file, and the order in which training reads it.

A folder holds `pieces.bin.xz` (uint16, little-endian: document after document, each closed by `</s>`, all of a group
together), `corpus.json` (the groups) and `tokenizer/`. Which sequences make up a batch follows from the seed, the
number of the batch and the cursors alone, so that a position is a few numbers and any number of ranks reads the
same batches.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import Errors, first_line
from .vocabulary import BEGIN, END, PAD

PIECES, GROUPS, TOKENIZER = "pieces.bin.xz", "corpus.json", "tokenizer"
MAX_VOCABULARY = 2**16
# Sixteen-bit numbers: the low byte's place and the literals' context follow the parity of the position.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 1, "pb": 1, "dict_size": 2**27}]


@dataclass
class Group:
    """Documents that are sampled together, mostly one language.

    name (str): Name of the group.
    language (str): Code of its language.
    start (int): Where it starts in the file, in pieces.
    pieces (int): Its pieces, `</s>` included.
    documents (int): Its documents.
    """

    name: str
    language: str
    start: int = 0
    pieces: int = 0
    documents: int = 0


def write_corpus(folder: Path, groups: Iterable[tuple[str, str, Iterable[list[int]]]]) -> list[Group]:
    """Write documents as pieces, as they come.

    folder (Path): Folder to write to; it exists.
    groups (Iterable[tuple[str, str, Iterable[list[int]]]]): Name, language and documents (ids without special
        pieces) of each group.
    RETURNS (list[Group]): What was written.
    """
    written: list[Group] = []
    start = 0
    with lzma.open(folder / PIECES, "wb", filters=_FILTERS) as file:
        for name, language, documents in groups:
            group = Group(name, language, start)
            for ids in documents:
                file.write(np.array([*ids, END], dtype="<u2").tobytes())
                group.pieces += len(ids) + 1
                group.documents += 1
            start += group.pieces
            written.append(group)
    text = json.dumps({"groups": [asdict(group) for group in written]}, indent=1)
    (folder / GROUPS).write_text(text + "\n", encoding="utf-8")
    return written


@dataclass
class PackedCorpus:
    """Pieces of all documents, and the groups they belong to.

    ids (uint16, [N]): The pieces.
    groups (list[Group]): The groups, in the order of the file.
    """

    ids: np.ndarray
    groups: list[Group]

    @classmethod
    def load(cls, folder: Path) -> PackedCorpus:
        """Read what `write_corpus` wrote.

        folder (Path): The folder.
        RETURNS (PackedCorpus): The corpus.
        RAISES (ValueError): S735 when files are missing, damaged or do not belong together.
        """
        try:
            groups = [Group(**group) for group in json.loads((folder / GROUPS).read_text(encoding="utf-8"))["groups"]]
            with lzma.open(folder / PIECES, "rb") as file:
                ids = np.frombuffer(file.read(), dtype="<u2")
        except (OSError, EOFError, lzma.LZMAError, ValueError, KeyError, TypeError) as err:
            raise ValueError(Errors.S735.format(path=folder, reason=first_line(err))) from None
        announced = sum(group.pieces for group in groups)
        if announced != len(ids) or not announced:
            reason = f"{PIECES} has {len(ids):,} pieces and {GROUPS} tells of {announced:,}"
            raise ValueError(Errors.S735.format(path=folder, reason=reason))
        return cls(ids, groups)

    def fingerprint(self) -> str:
        """RETURNS (str): A checksum of pieces and groups, the same for the same text alone."""
        groups = json.dumps([asdict(group) for group in self.groups]).encode()
        return f"{zlib.crc32(groups, zlib.crc32(self.ids.data)):08x}"


@dataclass
class Cursor:
    """How far a group was read.

    epoch (int): Times it was read whole.
    used (int): Sequences of this epoch that were read.
    """

    epoch: int = 0
    used: int = 0


class SequenceSampler:
    """Batches of packed sequences: groups drawn by temperature, each read in random order, whole, again and again.

    A sequence is a stretch of a group's pieces, whatever documents they belong to. Each epoch of a group cuts it at
    other places; the stretches at its two ends may be shorter. The last stretch of each group is held out.

    corpus (PackedCorpus): The text.
    length (int): Pieces of a sequence, `<s>` not counted.
    batch_size (int): Sequences of a batch, over all ranks.
    exponent (float): A group of n pieces is drawn in proportion to n ** exponent: 1 as in the text, 0 all alike.
    weights (dict[str, float]): Factors of the shares of groups, by name.
    held_out (int): Most sequences of each group to hold out; never more than a twentieth of it.
    seed (int): Seed of the order.
    RAISES (ValueError): S736 for a weight of no group, or when no group is left to read.
    """

    def __init__(
        self,
        corpus: PackedCorpus,
        *,
        length: int,
        batch_size: int,
        exponent: float = 0.5,
        weights: dict[str, float] | None = None,
        held_out: int = 0,
        seed: int = 0,
    ) -> None:
        self.corpus, self.length, self.batch_size, self.seed = corpus, length, batch_size, seed
        names = [group.name for group in corpus.groups]
        for name in weights or ():
            if name not in names:
                raise ValueError(Errors.S736.format(reason=f"there is no group {name!r} among {', '.join(names)}"))
        self._held_out = [min(held_out, group.pieces // (20 * length)) * length for group in corpus.groups]
        sizes = np.array([group.pieces - held for group, held in zip(corpus.groups, self._held_out)], dtype=float)
        shares = np.where(sizes > 0, sizes**exponent, 0.0) * [(weights or {}).get(name, 1.0) for name in names]
        if not shares.sum() > 0:
            raise ValueError(Errors.S736.format(reason="every group is empty or has the weight 0"))
        self.shares = shares / shares.sum()
        self.batch = 0
        self.cursors = [Cursor() for _ in names]
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def next_batch(self) -> np.ndarray:
        """The next sequences.

        RETURNS (ndarray): Start and end of each in the corpus. int64, [batch_size, 2]
        """
        rng = np.random.default_rng([self.seed, 0, self.batch])
        drawn = rng.choice(len(self.shares), size=self.batch_size, p=self.shares)
        spans = np.empty((self.batch_size, 2), dtype=np.int64)
        for group in np.unique(drawn):
            rows = np.flatnonzero(drawn == group)
            spans[rows] = list(self._read(int(group), len(rows)))
        self.batch += 1
        return spans

    def epoch(self, group: int, epoch: int) -> np.ndarray:
        """All sequences of a group in the order of an epoch.

        group (int): Number of the group.
        epoch (int): Number of the epoch.
        RETURNS (ndarray): Start and end of each; together they hold each piece once. int64, [sequences, 2]
        """
        rng = np.random.default_rng([self.seed, 1, group, epoch])
        start, size = self.corpus.groups[group].start, self.corpus.groups[group].pieces - self._held_out[group]
        cuts = np.arange(int(rng.integers(self.length)), size, self.length)
        cuts = np.unique(np.concatenate([[0], cuts, [size]])) + start
        return rng.permutation(np.stack([cuts[:-1], cuts[1:]], axis=1))

    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """The sequences that training never sees.

        RETURNS (tuple[ndarray, ndarray]): Start and end of each, int64, [sequences, 2], and its group, [sequences].
        """
        spans, groups = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for number, (group, held) in enumerate(zip(self.corpus.groups, self._held_out)):
            starts = np.arange(group.start + group.pieces - held, group.start + group.pieces, self.length)
            spans.append(np.stack([starts, starts + self.length], axis=1))
            groups.append(np.full(len(starts), number))
        return np.concatenate(spans), np.concatenate(groups)

    def state(self) -> dict[str, Any]:
        """RETURNS (dict): The position, for JSON."""
        return {"batch": self.batch, "cursors": [[cursor.epoch, cursor.used] for cursor in self.cursors]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a position.

        state (dict): What `state` gave.
        """
        self.batch = state["batch"]
        self.cursors = [Cursor(epoch, used) for epoch, used in state["cursors"]]

    def _read(self, group: int, count: int) -> Iterator[np.ndarray]:
        cursor = self.cursors[group]
        while count:
            if self._orders.get(group, (-1,))[0] != cursor.epoch:
                self._orders[group] = (cursor.epoch, self.epoch(group, cursor.epoch))
            order = self._orders[group][1]
            taken = order[cursor.used : cursor.used + count]
            yield from taken
            count -= len(taken)
            cursor.used += len(taken)
            if cursor.used == len(order):
                cursor.epoch, cursor.used = cursor.epoch + 1, 0


class SequenceReader:
    """Cuts sequences out of the pieces, all of which lie on the device.

    corpus (PackedCorpus): The text.
    length (int): Pieces of a sequence, `<s>` not counted.
    device (device): Where to.
    """

    def __init__(self, corpus: PackedCorpus, length: int, device: torch.device) -> None:
        # Torch indexes no uint16; the sign is taken off again after the pieces are picked.
        self._ids = torch.from_numpy(corpus.ids.view(np.int16).copy()).to(device)
        self._steps = torch.arange(length, device=device)

    def read(self, spans: np.ndarray) -> Tensor:
        """Read sequences.

        spans (ndarray): Start and end of each. int64, [B, 2]
        RETURNS (Tensor): `<s>` and the pieces of each, filled up with `<pad>`. int64, [B, 1 + length]
        """
        bounds = torch.from_numpy(spans)
        if self._ids.is_cuda:
            # Copied from pinned memory while the device still works on the step before.
            bounds = bounds.pin_memory().to(self._ids.device, non_blocking=True)
        places = bounds[:, :1] + self._steps
        pieces = self._ids[places.clamp_max(len(self._ids) - 1)].long() & (MAX_VOCABULARY - 1)
        pieces = pieces.masked_fill(places >= bounds[:, 1:], PAD)
        return torch.nn.functional.pad(pieces, (1, 0), value=BEGIN)
