"""Loading the pipeline that annotates, in this process or in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Errors, first_line
from .sources import UsageError

if TYPE_CHECKING:
    from spacy.language import Language


@dataclass(frozen=True)
class PipelineSpec:
    """How any process gets its own copy of a pipeline.

    model (str): Folder, installed package, or name of a bundled pipeline.
    code (str | None): Python file with functions that the pipeline's config names.
    gpu_id (int): GPU to use, -1 for the CPU.
    """

    model: str
    code: str | None = None
    gpu_id: int = -1

    def load(self) -> Language:
        """Load the pipeline.

        RETURNS (Language): The pipeline.
        RAISES (UsageError): S513 when there is no such GPU.
        RAISES (OSError): S001 for an unknown name, S508 when it does not load.
        """
        import spacy

        use_device(self.gpu_id)
        name = self._name()
        try:
            if self.code is not None:
                spacy.util.import_file("samarkand_user_code", self.code)
            return spacy.load(name)
        except Exception as error:  # a config and the code that it names can raise anything
            raise OSError(Errors.S508.format(model=self.model, reason=first_line(error))) from error

    def folder(self) -> Path:
        """Where the pipeline lies.

        RETURNS (Path): A folder with all of its files.
        RAISES (OSError): S001 for an unknown name.
        """
        import spacy

        found = self._name()
        return Path(found) if Path(found).exists() else spacy.util.get_package_path(str(found))

    def _name(self) -> str | Path:
        import spacy

        from .. import path

        if Path(self.model).exists() or spacy.util.is_package(self.model):
            return self.model
        return path(self.model)


def use_device(gpu_id: int) -> None:
    """Let this process compute on a GPU.

    gpu_id (int): Its number; -1 leaves everything on the CPU.
    RAISES (UsageError): S513 when there is no such GPU.
    """
    import spacy

    if gpu_id >= 0:
        try:
            spacy.require_gpu(gpu_id)
        except Exception as error:
            raise UsageError(Errors.S513.format(gpu_id=gpu_id, reason=first_line(error))) from error
