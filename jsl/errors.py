"""The errors that a person who uses jsl can cause and mend.

    JslError
    ├── UsageError         options or arguments that do not go together
    ├── TextError          a text that cannot be translated
    ├── CorpusError        a corpus file, or a tag in one, that cannot be used
    ├── VocabularyError    a stored vocabulary that is damaged or of another make
    ├── TrainingError      a training that cannot go on
    ├── RunDirError        a run directory that cannot be read or written
    └── ExportError        weights or attention that cannot be exported

Each message is a finished text in the language of the moment (`jsl.messages`): what is wrong,
where, and what to do. The command line prints it as it is; anything else that is raised is a bug.
"""


class JslError(Exception):
    """Anything that jsl itself raises for a person to read."""


class UsageError(JslError):
    """Options or arguments do not go together, or ask for what does not exist."""


class TextError(JslError):
    """A text cannot be translated: it is empty or holds unknown characters.

    Attributes:
        unknown: each unknown character with its position, which counts from 1 in the normalised
            text; all of them, though the message shows the first of many.
    """

    unknown: tuple[tuple[int, str], ...] = ()


class CorpusError(JslError):
    """A corpus file cannot be used, or one of its tags is not in the vocabulary."""


class VocabularyError(JslError):
    """A vocabulary is malformed, or was stored by a program with other symbols."""


class TrainingError(JslError):
    """Training cannot go on: the loss is not finite."""


class RunDirError(JslError):
    """A run directory cannot be read or written."""


class ExportError(JslError):
    """Weights or attention cannot be exported: they are wrong, or files cannot be written."""
