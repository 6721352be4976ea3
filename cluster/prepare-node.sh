#!/bin/bash
# What a node needs before Ray starts on it. cluster/aws-autoscaling.yaml runs it on every node, the head too; it ends
# with an error on a node that could not work, and may be run again.
#
# Its result is ~/selfreward/node-env, which every Ray process there has read: where models are cached, and on nodes
# with EFA how NCCL finds it.
set -euo pipefail

parameter=/selfreward/hf-token            # in AWS Systems Manager's Parameter Store: the hub's token for gated models
required_driver=580                       # of the CUDA 13 builds of PyTorch and vLLM
home=~/selfreward
scratch=/opt/dlami/nvme

fail() {
  echo "prepare-node: $*" >&2
  exit 1
}

# The installed module, not the running one: it has a version on the head too, which has the AMI of the GPU nodes but
# no GPU, so that `ray up` ends here before any GPU node is paid for.
check_driver() {
  local version
  version=$(modinfo -F version nvidia 2>/dev/null || true)
  if [ -z "$version" ]; then
    [ -z "$(lspci -d 10de: 2>/dev/null)" ] || fail "this node has NVIDIA GPUs but no NVIDIA driver; use an AMI with one"
  elif [ "${version%%.*}" -lt "$required_driver" ]; then
    fail "the NVIDIA driver is $version, and CUDA 13 needs $required_driver or newer; use a newer AMI"
  fi
}

# The instance's own disks, as one: models are read from there many times faster than from the root volume. Deep
# Learning AMIs mount them while they boot; on others it is done here. Without any, the root volume has to do.
mount_scratch() {
  local disks
  mapfile -t disks < <(lsblk --nodeps --noheadings --paths --output NAME,MODEL | awk '/Instance Storage/ {print $1}')
  if [ ${#disks[@]} -eq 0 ]; then
    scratch=$home/scratch
  else
    for _ in $(seq 60); do # the AMI may not be done with it yet
      [ -d "$(dirname "$scratch")" ] && ! mountpoint -q "$scratch" || break
      sleep 1
    done
    if ! mountpoint -q "$scratch"; then
      sudo mdadm --create /dev/md0 --run --force --level=0 --raid-devices=${#disks[@]} "${disks[@]}"
      sudo mkfs.ext4 -q -E lazy_itable_init=1,nodiscard /dev/md0
      sudo mkdir -p "$scratch"
      sudo mount -o noatime /dev/md0 "$scratch"
    fi
    sudo chown "$(id -un)" "$scratch"
  fi
  mkdir -p "$scratch"/{models,huggingface,tmp}
}

metadata() { # IMDSv2
  local service=http://169.254.169.254/latest token
  token=$(curl -sSf -m 5 -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" $service/api/token)
  curl -sSf -m 5 -H "X-aws-ec2-metadata-token: $token" "$service/meta-data/$1"
}

# Where huggingface_hub looks for it, for this user alone: in no environment, in no file of the cluster's. A cluster
# whose models need no token has no such parameter.
fetch_token() {
  local region token
  region=$(metadata placement/region)
  if token=$(aws ssm get-parameter --region "$region" --name $parameter --with-decryption \
    --query Parameter.Value --output text 2>"$home/token-error"); then
    (umask 077 && printf %s "$token" >"$scratch/huggingface/token")
  elif ! grep -q ParameterNotFound "$home/token-error"; then
    echo "prepare-node: no token for gated models: $(cat "$home/token-error")" >&2
  fi
}

write_env() {
  cat <<END
export SELFREWARD_CACHE=$scratch/models HF_HOME=$scratch/huggingface
# A training's checkpoint is written there first. Ray's own files stay where its commands look for them.
export TMPDIR=$scratch/tmp RAY_TMPDIR=/tmp
END
  if [ -n "$(ls /sys/class/infiniband 2>/dev/null)" ]; then
    local plugin
    plugin=$(find /opt/amazon -name 'libnccl-net*.so' -print -quit 2>/dev/null || true)
    [ -n "$plugin" ] || fail "this node has EFA, but NCCL's plugin for it (aws-ofi-nccl) is not in /opt/amazon: use an AMI with it"
    # PyTorch brings an NCCL of its own, which finds the plugin by this path.
    echo "export LD_LIBRARY_PATH=$(dirname "$plugin"):/opt/amazon/efa/lib:\${LD_LIBRARY_PATH:-} FI_PROVIDER=efa"
  fi
}

mkdir -p "$home"
check_driver
mount_scratch
fetch_token
write_env >"$home/node-env.new"
mv "$home/node-env.new" "$home/node-env"
