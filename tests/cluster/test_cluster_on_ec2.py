"""Ray's AWS provider starts nodes of each type of the cluster file, on moto's EC2."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from click import ClickException
from moto import mock_aws
from ray.autoscaler._private.aws import config as aws_config
from ray.autoscaler._private.aws import utils as aws_utils
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config

FILE = Path(__file__).parents[2] / "cluster/aws-autoscaling.yaml"
TAGS = {"ray-node-kind": "worker", "ray-launch-config": "h", "ray-user-node-type": "t", "ray-node-name": "n"}


def forget_clients() -> None:
    """Ray keeps one client a process; one that was made for another test knows another EC2."""
    for cache in (aws_utils.resource_cache, aws_utils.client_cache, aws_config._get_subnets_or_die):
        cache.cache_clear()


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An account in which what the file asks for was prepared as it says."""
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes the SSH key there
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    forget_clients()
    with mock_aws():
        yield boto3.resource("ec2", region_name="us-west-2")
    forget_clients()


def prepared(ec2: Any, text: str, public_addresses: bool = True) -> dict[str, Any]:
    """The file's configuration, its YOUR-… values those of an account. (moto knows no placement groups.)"""
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")
    subnets = [
        ec2.create_subnet(VpcId=vpc.id, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone="us-west-2a") for n in (0, 1)
    ]
    for subnet in subnets[: 2 if public_addresses else 1]:
        ec2.meta.client.modify_subnet_attribute(SubnetId=subnet.id, MapPublicIpOnLaunch={"Value": True})
    group = ec2.create_security_group(GroupName="selfreward", Description="-", VpcId=vpc.id)
    ami = ec2.meta.client.describe_images()["Images"][0]["ImageId"]
    for mine, its in {
        "YOUR-AMI": ami,
        "YOUR-PRIVATE-SUBNET": subnets[1].id,
        "YOUR-SUBNET": subnets[0].id,
        "YOUR-SECURITY-GROUP": group.id,
        "YOUR-INSTANCE-PROFILE": "selfreward",
    }.items():
        text = text.replace(mine, its)
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_every_kind_of_node_starts_with_its_network_and_market(ec2: Any) -> None:
    boto3.client("iam").create_instance_profile(InstanceProfileName="selfreward")
    config = AWSNodeProvider.bootstrap_config(prepare_config(prepared(ec2, FILE.read_text(encoding="utf-8"))))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    asked: list[dict[str, Any]] = []
    create = provider.ec2_fail_fast.create_instances
    provider.ec2_fail_fast.create_instances = lambda **request: asked.append(request) or create(**request)
    try:
        for group in config["available_node_types"].values():
            provider.create_node_with_resources_and_labels(group["node_config"], dict(TAGS), 1, group["resources"], {})
    finally:
        provider.ec2_fail_fast.create_instances = create
    head, on_demand, spot, training = asked
    assert [request["InstanceType"] for request in asked] == [
        *("r7i.4xlarge", "g6e.48xlarge", "g6e.48xlarge", "p5.48xlarge")
    ]
    assert [r["InstanceType"] for r in asked if "InstanceMarketOptions" in r] == ["g6e.48xlarge"]
    assert spot["InstanceMarketOptions"] == {"MarketType": "spot"}
    for request in (head, on_demand, spot):
        assert request["SubnetId"] == config["available_node_types"]["head"]["node_config"]["SubnetIds"][0]
        assert len(request["SecurityGroupIds"]) == 1
    # With interfaces EC2 refuses a subnet or a group beside them, and Ray leaves both out.
    assert not {"SubnetId", "SubnetIds", "SecurityGroupIds"} & set(training)
    assert len(training["NetworkInterfaces"]) == 32
    assert training["Placement"] == {"GroupName": "selfreward-training"}
    assert {r["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] for r in asked} == {200}
    assert all(r["MetadataOptions"] == {"HttpTokens": "required"} and r["KeyName"] for r in asked)


def test_ray_refuses_a_private_subnet_that_does_not_assign_addresses(ec2: Any, capsys: pytest.CaptureFixture[str]):
    """Why the file has it assign them."""
    boto3.client("iam").create_instance_profile(InstanceProfileName="selfreward")
    config = prepared(ec2, FILE.read_text(encoding="utf-8"), public_addresses=False)
    with pytest.raises(ClickException):
        AWSNodeProvider.bootstrap_config(prepare_config(config))
    assert "the subnet must map public IPs" in " ".join(capsys.readouterr().err.split())
