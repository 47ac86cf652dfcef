"""Where losses go besides ``metrics.jsonl``: TensorBoard, MLflow or Weights & Biases."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from a2bgan.errors import InputError, warn_caller
from a2bgan.training.config import LoggerName
from a2bgan.training.run_folder import RunFolder


class Logger(Protocol):
    """Takes losses as a training goes on."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a step, by name."""

    def close(self) -> None:
        """Write what is left."""


class NoLogger:
    """Logs nothing."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


class _Remote:
    """A logger whose server may go away: then it is left alone, and training goes on."""

    def __init__(self, name: str, logger: Logger) -> None:
        self._name, self._logger = name, logger
        self._lost = False

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._try(lambda: self._logger.log(step, numbers))

    def close(self) -> None:
        self._try(self._logger.close)

    def _try(self, call: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            call()
        except Exception as error:  # each package raises its own
            self._lost = True
            warn_caller(
                f"train.logger={self._name} no longer answers ({error}): look at its server; "
                "metrics.jsonl of the run goes on"
            )


class MLflowLogger:
    """Logs to the server of MLFLOW_TRACKING_URI, or where MLflow keeps local runs."""

    def __init__(self, run: RunFolder, step: int, settings: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.start_run(run_name=run.path.name, nested=mlflow.active_run() is not None)
        if step == 0:
            mlflow.log_params(settings)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(numbers), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class WandbLogger:
    """Logs to the account that `wandb login` has set, or locally with WANDB_MODE=offline."""

    def __init__(self, run: RunFolder, step: int, settings: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project="a2bgan", name=run.path.name, dir=str(run.path), config=dict(settings)
        )

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


def open_logger(
    name: LoggerName | None, run: RunFolder, step: int, settings: Mapping[str, Any]
) -> Logger:
    """The logger of ``train.logger`` for a run that goes on at a step.

    settings: of the run, by dotted name. Raises InputError if its package is not installed or not
    set up.
    """
    if name is None:
        return NoLogger()
    try:
        logger = _OPENERS[name](run, step, settings)
    except ImportError:
        raise InputError(f"train.logger={name} needs its package: pip install {name}") from None
    except Exception as error:  # each package raises its own
        if isinstance(error, OSError) and name == "tensorboard":
            raise  # the run's disk
        raise InputError(f"train.logger={name}: {' '.join(str(error).split())}") from None
    return logger if name == "tensorboard" else _Remote(name, logger)


def _open_tensorboard(run: RunFolder, step: int, settings: Mapping[str, Any]) -> Logger:
    from a2bgan.training.event_file import EventFile

    return EventFile(run.tensorboard, step)


_OPENERS: dict[LoggerName, Callable[[RunFolder, int, Mapping[str, Any]], Logger]] = {
    "tensorboard": _open_tensorboard,
    "mlflow": MLflowLogger,
    "wandb": WandbLogger,
}
