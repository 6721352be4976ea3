"""cluster/prepare-node.sh on several kinds of machines, with fakes of the commands that it calls."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCRIPT = (Path(__file__).parents[2] / "cluster/prepare-node.sh").read_text(encoding="utf-8")
NVME = "\n".join(f"/dev/nvme{n}n1 Amazon EC2 NVMe Instance Storage" for n in range(1, 5))
ROOT_DISK = "/dev/nvme0n1 Amazon Elastic Block Store"


@dataclass
class Node:
    """A machine: what its commands print, `None` for one that fails; where its disks and devices are."""

    home: Path
    commands: dict[str, str | None] = field(default_factory=dict)

    def place(self, path: str) -> Path:
        """Where a path of the real machine is."""
        return self.home / "root" / path.lstrip("/")

    def prepare(self) -> subprocess.CompletedProcess[str]:
        stubs = self.home / "stubs"
        stubs.mkdir(exist_ok=True)
        for name, said in self.commands.items():
            what = 'echo "refused: $1" >&2; exit 1' if said is None else f"cat <<'END'\n{said}\nEND"
            (stubs / name).write_text(f'#!/bin/bash\necho "{name} $*" >> {self.home}/calls\n{what}\n')
            (stubs / name).chmod(0o755)
        script = SCRIPT
        for path in ("/opt/dlami/nvme", "/opt/amazon", "/sys/class/infiniband"):
            script = script.replace(path, str(self.place(path)))
        environment = {"HOME": str(self.home), "PATH": f"{stubs}:{os.environ['PATH']}"}
        return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)

    @property
    def calls(self) -> str:
        return (self.home / "calls").read_text(encoding="utf-8")

    @property
    def env(self) -> dict[str, str]:
        """What a process has that reads node-env."""
        printed = subprocess.run(
            ["bash", "-c", "source ~/selfreward/node-env; env"], env={"HOME": str(self.home)}, capture_output=True
        ).stdout.decode()
        return dict(line.split("=", 1) for line in printed.splitlines())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A GPU node of the AMI that the cluster file names, its NVMe disks mounted, no token in the account."""
    node = Node(
        tmp_path,
        {
            "modinfo": "580.105.08",
            "lspci": "00:1e.0 3D controller: NVIDIA Corporation AD102GL [L40S]",
            "lsblk": f"{ROOT_DISK}\n{NVME}",
            "mountpoint": "",
            "sudo": "",
            "curl": "us-west-2",
            "aws": None,
        },
    )
    node.place("/opt/dlami/nvme").mkdir(parents=True)
    return node


def test_models_are_cached_on_the_disks_that_the_ami_has_mounted(node: Node):
    done = node.prepare()
    assert done.returncode == 0, done.stderr
    scratch = node.place("/opt/dlami/nvme")
    wanted = {"SELFREWARD_CACHE": scratch / "models", "HF_HOME": scratch / "huggingface", "TMPDIR": scratch / "tmp"}
    assert node.env.items() >= {name: str(path) for name, path in wanted.items()}.items()
    assert node.env["RAY_TMPDIR"] == "/tmp"
    assert all(path.is_dir() for path in wanted.values())
    assert "mdadm" not in node.calls


def test_disks_that_nobody_mounted_become_one(node: Node):
    node.place("/opt/dlami/nvme").rmdir()
    node.place("/opt/dlami").rmdir()  # another AMI
    node.commands["mountpoint"] = None
    assert node.prepare().returncode == 0
    (made,) = [line for line in node.calls.splitlines() if "mdadm --create" in line]
    assert "--raid-devices=4 /dev/nvme1n1 /dev/nvme2n1 /dev/nvme3n1 /dev/nvme4n1" in made
    assert "nvme0n1" not in made  # the root volume
    assert f"mount -o noatime /dev/md0 {node.place('/opt/dlami/nvme')}" in node.calls


def test_a_head_without_gpu_and_disks_uses_its_root_volume(node: Node):
    node.commands |= {"lspci": "", "modinfo": None, "lsblk": ROOT_DISK}
    assert node.prepare().returncode == 0
    assert node.env["SELFREWARD_CACHE"] == str(node.home / "selfreward/scratch/models")


def test_preparing_twice_is_preparing_once(node: Node):
    assert [node.prepare().returncode for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("gpus", ["00:1e.0 3D controller: NVIDIA Corporation", ""], ids=["gpu-node", "head"])
def test_a_driver_too_old_for_cuda_13_ends_it_on_the_head_too(node: Node, gpus: str):
    node.commands |= {"modinfo": "570.195.03", "lspci": gpus}
    done = node.prepare()
    assert done.returncode == 1
    assert "the NVIDIA driver is 570.195.03, and CUDA 13 needs 580 or newer" in done.stderr
    assert not (node.home / "selfreward/node-env").exists()


def test_gpus_without_a_driver_end_it(node: Node):
    node.commands["modinfo"] = None
    done = node.prepare()
    assert done.returncode == 1
    assert "NVIDIA GPUs but no NVIDIA driver" in done.stderr


def test_the_hub_token_is_in_a_file_of_this_user_alone(node: Node):
    node.commands["aws"] = "hf_of_the_hub"
    done = node.prepare()
    token = node.place("/opt/dlami/nvme") / "huggingface/token"
    assert token.read_text() == "hf_of_the_hub"
    assert token.stat().st_mode & 0o777 == 0o600
    assert "ssm get-parameter --region us-west-2 --name /selfreward/hf-token --with-decryption" in node.calls
    assert "hf_of_the_hub" not in done.stdout + done.stderr + str(node.env)


def test_a_token_that_may_not_be_read_is_said_and_one_that_is_not_there_is_not(node: Node):
    node.prepare()
    assert "no token for gated models: refused: ssm" in node.prepare().stderr
    node.commands["aws"] = None
    (node.home / "stubs/aws").unlink()
    (node.home / "stubs/aws").write_text("#!/bin/bash\necho 'An error (ParameterNotFound)' >&2; exit 254\n")
    (node.home / "stubs/aws").chmod(0o755)
    del node.commands["aws"]
    done = node.prepare()
    assert (done.returncode, done.stderr) == (0, "")


def test_nccl_finds_efa_where_there_is_efa(node: Node):
    (node.place("/sys/class/infiniband") / "rdmap0s6").mkdir(parents=True)
    done = node.prepare()
    assert done.returncode == 1
    assert "this node has EFA, but NCCL's plugin for it (aws-ofi-nccl) is not in" in done.stderr
    plugin = node.place("/opt/amazon/ofi-nccl/lib/x86_64-linux-gnu")
    plugin.mkdir(parents=True)
    (plugin / "libnccl-net.so").touch()
    assert node.prepare().returncode == 0
    assert node.env["LD_LIBRARY_PATH"].split(":")[0] == str(plugin)
    assert node.env["FI_PROVIDER"] == "efa"


def test_without_efa_nccl_is_left_alone(node: Node):
    assert node.prepare().returncode == 0
    assert "FI_PROVIDER" not in node.env
