"""Triton as a process of its own: the server of the ``nvidia-pytriton`` wheel with our ONNX Runtime backend."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import aiohttp

from app.catalogue.configs import machine_config, read_config, to_text
from app.catalogue.layout import CONFIG_FILE
from app.catalogue.roles import Role
from app.config import PROJECT
from app.embedded.lock import lock
from app.embedded.process import Program, SupervisedProcess
from app.errors import OperatorError

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 4.0
_LOOPBACK = "127.0.0.1"
# Shared memory of each model process. Its default, 1 MiB, is less than one image for the detector, and the server was
# seen to crash (in ModelInstanceExecute) on a busy machine, where such regions grow. The largest batch takes 3 MiB.
_REGION_BYTES = 8 * 1024 * 1024
_MACHINE = "machine"
_GIVEN_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where POSIX keeps shared memory)

# Asked of the server's own interpreter: where its packages, its libpython and its version are, and which NumPy it has.
_PROBE = """
import json, sys, sysconfig
import numpy, onnxruntime
print(json.dumps({
    "packages": sysconfig.get_path("purelib"),
    "version": "%d.%d" % sys.version_info[:2],
    "libdir": sysconfig.get_config_var("LIBDIR"),
    "library": sysconfig.get_config_var("INSTSONAME"),
    "shared": bool(sysconfig.get_config_var("Py_ENABLE_SHARED")),
    "numpy": numpy.__version__,
}))
"""


@dataclass(frozen=True, slots=True)
class TritonInstallation:
    """Where the embedded server lies.

    Attributes:
        python: interpreter of its environment.
        packages: its site-packages.
        libpython_folder: folder of the shared libpython that the backend's stub loads.
        version: the interpreter's ``major.minor``.
    """

    python: Path
    packages: Path
    libpython_folder: Path
    version: str

    @classmethod
    def find(cls, python: Path) -> TritonInstallation:
        """Looks at an environment and checks that it can run the server.

        Raises:
            OperatorError: something is missing; the sentence says what to install.
        """
        again = "run `make run` to set it up, or set LIKENESS_TRITON_URL to a Triton of your own"
        if not python.exists():
            message = f"The environment of the embedded Triton is missing ({python}): {again}."
            raise OperatorError(message)
        try:
            probe = subprocess.run(  # noqa: S603
                [str(python), "-I", "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            probe = None
        if probe is None or probe.returncode != 0:
            message = f"The environment of the embedded Triton is damaged ({python}): delete it and {again}."
            raise OperatorError(message)
        facts = json.loads(probe.stdout)
        if not facts["numpy"].startswith("1."):
            # With NumPy 2 this server's Python backend returns empty tensors without any error.
            message = f"The environment of the embedded Triton has NumPy {facts['numpy']}, it needs 1.x: {again}."
            raise OperatorError(message)
        library = Path(facts["libdir"]) / facts["library"]
        if not facts["shared"] or not library.exists():
            message = (
                f"Python {facts['version']} here has no shared library, which Triton's backend needs: install the "
                f"package libpython{facts['version']} (Debian, Ubuntu), or use a Python that was built with one."
            )
            raise OperatorError(message)
        installation = cls(python, Path(facts["packages"]), library.parent, facts["version"])
        if not installation.program.exists() or not installation.stub.exists():
            message = f"The package nvidia-pytriton 0.7.0 is missing from {python.parent.parent}: {again}."
            raise OperatorError(message)
        return installation

    @property
    def program(self) -> Path:
        """The server itself."""
        return self.packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def python_backend(self) -> Path:
        """Folder of the wheel's Python backend."""
        return self.packages / "pytriton" / "tritonserver" / "backends" / "python"

    @property
    def stub(self) -> Path:
        """The process that runs a Python-based backend, built for this interpreter's version."""
        stubs = self.packages / "pytriton" / "tritonserver" / "python_backend_stubs"
        return stubs / self.version / "triton_python_backend_stub"

    @property
    def libraries(self) -> str:
        """Where the server and its stub find their shared libraries."""
        return f"{self.packages / 'nvidia_pytriton.libs'}:{self.libpython_folder}"

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The server's environment: its interpreter first, none of the service's Python settings."""
        kept = {name: value for name, value in environ.items() if not name.startswith(("PYTHON", "LIKENESS_"))}
        # The stub finds its site-packages through the first python3 on the path.
        kept["PATH"] = f"{self.python.parent}:{environ.get('PATH', '')}"
        # ONNX Runtime reports its use to its makers unless told not to.
        kept["ORT_DISABLE_TELEMETRY"] = "1"
        kept["VIRTUAL_ENV"] = str(self.python.parent.parent)
        return kept


class EmbeddedTriton:
    """Runs Triton on loopback with free ports, and starts it again when it dies.

    Args:
        python: interpreter of the environment that holds the server (NumPy 1.x).
        model_repository: what to serve; fitted to this machine through Triton's ``--model-config-name``.
        data_dir: where the backend folder is put together.
        log_dir: where its log goes.
        cores: cores that its models may use; 0 is all.
        metrics_port: loopback port of its metrics; 0 is a free one.
    """

    def __init__(
        self,
        *,
        python: Path,
        model_repository: Path,
        data_dir: Path,
        log_dir: Path,
        cores: int = 0,
        metrics_port: int = 0,
    ) -> None:
        self._python = python.absolute()
        self._found: TritonInstallation | None = None
        self._repository = model_repository.resolve()
        self._data_dir = data_dir.resolve()
        self._log_dir = log_dir.resolve()
        self._cores = cores or len(os.sched_getaffinity(0))
        self._metrics_port = metrics_port
        self._ports: tuple[int, int, int] | None = None
        self._lock: IO[str] | None = None
        # Told apart from another service's, so that what a killed server left behind can be removed.
        folder = hashlib.sha256(str(self._data_dir).encode()).hexdigest()[:12]
        self._region = f"likeness_{folder}_"
        self._log = logging.getLogger("likeness.embedded")
        self._process = SupervisedProcess(
            self._program, self._ready, start_timeout=_START_TIMEOUT_S, answers=self._answers
        )

    @property
    def url(self) -> str:
        """host:port of the gRPC endpoint."""
        return f"{_LOOPBACK}:{self._chosen[1]}"

    @property
    def entry(self) -> str:
        """As an entry of ``LIKENESS_TRITON_URL``: with the HTTP endpoint, to which batches go."""
        return f"{self.url}/{self._chosen[0]}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds its metrics."""
        return f"http://{_LOOPBACK}:{self._chosen[2]}/metrics"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._lock = lock(self._data_dir / "triton.lock")
        try:
            _require_free(self._metrics_port)
            self._found = await asyncio.to_thread(TritonInstallation.find, self._python)
            self._lay_out_backends()
            self._fit_to_machine()
            await self._start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _start(self) -> None:
        for attempt in range(3):
            http, grpc, metrics = _free_ports()
            self._ports = (http, grpc, self._metrics_port or metrics)
            try:
                await self._process.start()
            except OperatorError:
                # Somebody may have taken a port between our look and the server's bind.
                if attempt == 2 or not self._log_says("Address already in use", "Unavailable - Socket"):
                    raise
            else:
                self._log.info("Triton shows its metrics on %s", self.metrics_url)
                return

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._process.stop(_STOP_TIMEOUT_S)
        self._remove_shared_memory()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def _chosen(self) -> tuple[int, int, int]:
        assert self._ports is not None, "EmbeddedTriton is not entered"
        return self._ports

    @property
    def _installation(self) -> TritonInstallation:
        assert self._found is not None, "EmbeddedTriton is not entered"
        return self._found

    @property
    def _backends(self) -> Path:
        return self._data_dir / "triton-backends"

    @property
    def _log_file(self) -> Path:
        return self._log_dir / "triton.log"

    def _log_says(self, *texts: str) -> bool:
        tail = self._log_file.read_bytes()[-20_000:].decode(errors="replace")
        return any(text in tail for text in texts)

    def _remove_shared_memory(self) -> None:
        """Removes the regions of a server that was killed; one that stops by itself leaves none."""
        for region in _SHARED_MEMORY.glob(f"{self._region}*"):
            region.unlink(missing_ok=True)

    def _lay_out_backends(self) -> None:
        """Puts the wheel's Python backend with its stub, and our own backend on top of it, into one folder."""
        shutil.rmtree(self._backends, ignore_errors=True)
        python = self._backends / "python"
        python.mkdir(parents=True)
        for file in self._installation.python_backend.iterdir():
            if file.is_file():
                shutil.copyfile(file, python / file.name)  # the server refuses links that leave the folder
        stub = python / self._installation.stub.name
        shutil.copyfile(self._installation.stub, stub)
        # Wheels do not always keep the executable bit.
        stub.chmod(0o755)
        self._installation.program.chmod(0o755)
        shutil.copytree(PROJECT / "triton" / "backends" / "onnxruntime", self._backends / "onnxruntime")

    def _fit_to_machine(self) -> None:
        """Writes each model's configuration for this machine's cores: Triton takes it by ``--model-config-name``."""
        try:
            for role in Role:
                fitted = machine_config(read_config(self._repository / role / CONFIG_FILE), self._cores)
                folder = self._repository / role / "configs"
                folder.mkdir(exist_ok=True)
                (folder / f"{_MACHINE}.pbtxt").write_text(to_text(fitted), encoding="utf-8")
        except OSError as error:
            self._log.warning(
                "%s is not writable (%s): models run with their default instances and threads",
                self._repository,
                error.strerror,
            )

    def _program(self) -> Program:
        self._remove_shared_memory()
        http, grpc, metrics = self._chosen
        options: dict[str, str | int | Path] = {
            "model-repository": self._repository,
            "model-config-name": _MACHINE,
            "backend-directory": self._backends,
            "backend-config": f"python,shm-region-prefix-name={self._region}",
            "http-address": _LOOPBACK,
            "grpc-address": _LOOPBACK,
            "metrics-address": _LOOPBACK,
            "http-port": http,
            "grpc-port": grpc,
            "metrics-port": metrics,
            "exit-timeout-secs": 3,
            "log-verbose": 0,
        }
        return Program(
            name="Triton",
            arguments=[
                str(self._installation.program),
                "--disable-auto-complete-config",
                *(f"--{key}={value}" for key, value in options.items()),
                f"--backend-config=python,shm-default-byte-size={_REGION_BYTES}",
            ],
            environment=self._installation.environment(os.environ),
            libraries=self._installation.libraries,
            folder=self._data_dir,
            log_file=self._log_file,
        )

    async def _ready(self) -> None:
        """Returns once every model is ready (Triton's readiness is strict by default)."""
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"http://{_LOOPBACK}:{self._chosen[0]}/v2/health/ready") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def _answers(self) -> None:
        reader, writer = await asyncio.open_connection(_LOOPBACK, self._chosen[0])
        try:
            writer.write(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await reader.readexactly(1)
        finally:
            writer.transport.abort()


def _require_free(port: int) -> None:
    """Raises OperatorError where the port that was set for the metrics is taken: the server would only say so."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_LOOPBACK, port))
        except OSError as error:
            message = (
                f"Triton's metrics cannot be shown on port {port} ({(error.strerror or str(error)).lower()}): stop "
                "what uses it, or choose another with LIKENESS_TRITON_METRICS_PORT."
            )
            raise OperatorError(message) from error


def _free_ports() -> tuple[int, int, int]:
    """Three ports of the loopback address that nobody listens on at this moment.

    They are kept over restarts of the server, so they lie below the range from which the kernel gives ports to
    outgoing connections: nobody gets one by chance while the server is away.
    """
    first_given = int(_GIVEN_PORTS.read_text().split()[0]) if _GIVEN_PORTS.exists() else 32768
    ports: list[int] = []
    with contextlib.ExitStack() as sockets:
        while len(ports) < 3:
            listener = sockets.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind((_LOOPBACK, random.randint(min(20000, first_given - 1000), first_given - 1)))  # noqa: S311
                ports.append(listener.getsockname()[1])
    return ports[0], ports[1], ports[2]
