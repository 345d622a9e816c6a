"""The demo: clean a shop's data, serve it within seconds from counts, train behind the service, swap the model in.

Everything stands in one folder and is used again by the next start: a dataset, `headrace.db`, `models`, `train.log`.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from pathlib import Path

import msgspec

from headrace.app.background_training import BackgroundTraining
from headrace.app.calling import request_swap
from headrace.app.commands.options import api_key
from headrace.app.commands.preparing import show_report
from headrace.app.listening import BACKLOG, address_of
from headrace.app.terminal import say
from headrace.core.errors import FormatError
from headrace.core.files import replacing
from headrace.core.formats import MODEL_FILE, REPORT_FILE
from headrace.core.settings import Settings
from headrace.data.groceries import GROCERIES, Groceries


class Source(msgspec.Struct, frozen=True):
    """What the demo shows: what `prepare` takes, and a catalogue."""

    data: str = GROCERIES
    items: str | None = None


class DemoFolder:
    """Where a demo keeps its things."""

    def __init__(self, root: Path, source: Source) -> None:
        self.root = root.resolve()
        self.source = source
        # A model bears the name of its dataset's folder, and the page shows it.
        self.dataset = self.root / ("groceries" if source.data == GROCERIES else "dataset")
        self.models = self.root / "models"
        self.model = self.models / "demo"
        self.progress = self.root / "progress.json"
        self.log = self.root / "train.log"
        self._told = self.root / "demo.json"

    @property
    def prepared(self) -> bool:
        """Whether an earlier start cleaned the source; one that could not leaves the folder to another source."""
        return (self.dataset / REPORT_FILE).exists()

    @property
    def store_url(self) -> str:
        """The store's URL."""
        return f"sqlite:///{self.root / 'headrace.db'}"

    def take(self) -> None:
        """Make the folder, or check that it holds the same source.

        Raises:
            FormatError: the folder holds other things, or the demo of another source.
        """
        if self._told.exists():
            kept = msgspec.json.decode(self._told.read_bytes(), type=Source)
            if kept != self.source and DemoFolder(self.root, kept).prepared:
                raise FormatError(
                    f"{self.root} must hold the demo of {self.source.data}, it holds that of {kept.data}; "
                    "name another with --folder"
                )
        elif self.root.exists() and any(self.root.iterdir()):
            raise FormatError(
                f"the demo's folder must be new or its own, {self.root} holds other files; name another with --folder"
            )
        self.models.mkdir(parents=True, exist_ok=True)
        with replacing(self._told) as temporary:
            temporary.write_bytes(msgspec.json.encode(self.source))

    def place(self, settings: Settings) -> Settings:
        """Return the settings with the store and the models in this folder."""
        serving = msgspec.structs.replace(settings.serving, store=self.store_url, models=str(self.models))
        return msgspec.structs.replace(settings, serving=serving)

    def training(self, url: str, options: list[str]) -> BackgroundTraining:
        """Return the training that makes this folder's model, by further `options`, and hands it to the service."""
        arguments = [str(self.dataset), "--out", str(self.model), "--protocol", "all", *options]
        arguments += ["--progress", str(self.progress), "--go-on"]
        return BackgroundTraining(arguments, self.progress, self.log, lambda: request_swap(url, self.model, api_key()))


def run_demo(folder: DemoFolder, settings: Settings, bound: socket.socket, options: list[str]) -> None:
    """Prepare, serve and train until stopped.

    Args:
        folder: what to show, and where to keep it.
        settings: those in force.
        bound: where to listen.
        options: of `headrace train`.
    """
    started = time.perf_counter()
    folder.take()
    # On a fresh machine compiling takes some 20 s of a core; the other core can spare them while the data is cleaned.
    compiling = multiprocessing.get_context("spawn").Process(target=_compile, args=(settings,), daemon=True)
    compiling.start()
    placed = folder.place(settings)
    try:
        _prepare(folder, settings)
        _fill(folder, placed)
    finally:
        compiling.join()
    from headrace.app.http.application import create_app
    from headrace.app.http.front_link import serve
    from headrace.serving.service import Service

    settings = placed
    trained = folder.model if (folder.model / MODEL_FILE).exists() else None
    service = Service.open(settings, model=trained, history=folder.dataset)
    training = folder.training(address_of(bound), options)
    try:
        app = create_app(service, page=True, api_key=api_key(), settings=settings, training=lambda: training.now)
        bound.listen(BACKLOG)  # who reads the address below and connects at once waits, and is not refused
        say(f"store: {service.store.path}")
        say(f"The shop is open after {time.perf_counter() - started:.0f} s: {address_of(bound)} (Ctrl-C stops it)")
        if trained is None:
            training.start()
        serve(app, service, bound, api_key())
        say("Stopping ...")
    finally:
        training.stop()
        service.close()
    say("Stopped; `headrace demo` goes on from here.")


def _compile(settings: Settings) -> None:
    """Compile what answers need, and leave it on disk for the service."""
    from headrace.serving.answering import warm_up

    warm_up(settings)


def _fill(folder: DemoFolder, settings: Settings) -> None:
    """Import the dataset into the store, unless an earlier start did."""
    from headrace.serving.importing import import_dataset
    from headrace.serving.moments import wall_clock
    from headrace.serving.store import Store

    store = Store.open(settings.serving.store)
    try:
        import_dataset(store, folder.dataset, now=wall_clock())
    finally:
        store.close()


def _prepare(folder: DemoFolder, settings: Settings) -> None:
    """Clean the source, unless an earlier start did."""
    if folder.prepared:
        return
    from headrace.pipeline.preparation import prepare

    source = folder.source
    say(f"Cleaning {source.data} ...")
    # The groceries end years ago; moved to now, "popular now" means something. One's own data keeps its times.
    events = Groceries(shift_to=time.time_ns() // 1000) if source.data == GROCERIES else source.data
    show_report(prepare(events, items=source.items, out=folder.dataset, settings=settings.data))
