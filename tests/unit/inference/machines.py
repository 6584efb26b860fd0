"""Made-up `/sys` and `/proc` trees of machines that exist."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Machine:
    """Writes the tree below `root`; `cores` are the hyper-threads of each core."""

    root: Path
    cores: list[tuple[int, ...]]
    name: str = "A Processor"
    package: dict[int, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def build(self) -> Path:
        cpuinfo = []
        for core in self.cores:
            for cpu in core:
                topology = f"sys/devices/system/cpu/cpu{cpu}/topology"
                self.write(f"{topology}/core_cpus_list", _listed(core))
                self.write(f"{topology}/physical_package_id", f"{self.package.get(cpu, 0)}\n")
                cpuinfo.append(f"processor\t: {cpu}\nmodel name\t: {self.name}\n")
        self.write("proc/cpuinfo", "\n".join(cpuinfo))
        self.write("proc/self/cgroup", "0::/\n")
        for path, text in self.files.items():
            self.write(path, text)
        return self.root

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    @property
    def everyone(self) -> frozenset[int]:
        return frozenset(cpu for core in self.cores for cpu in core)


def _listed(core: tuple[int, ...]) -> str:
    return ",".join(str(cpu) for cpu in core) + "\n"


def cpu_file(cpu: int, name: str) -> str:
    return f"sys/devices/system/cpu/cpu{cpu}/{name}"
