"""The output head where only the log-probs of targets are wanted: a few logits at a time, forward and backward."""

from typing import Any

import torch
from torch import Tensor, nn

# Logits that are alive at a time, in the model's dtype, and of these in float32. On a CPU those of 262 targets of a
# vocabulary of 128k, and of 16: few enough to stay in its cache while they are summed (a third faster than all at
# once). On a GPU those of 1,046, all together: it wants few large calls.
_LOGITS = {"cpu": (2**25, 2**21), "cuda": (2**27, 2**27)}


class TargetHead(nn.Module):
    """The head of weights [V, D], in the place of the model's own. One call a pass: ZeRO-3 gathers it at each."""

    def __init__(self, weight_VD: nn.Parameter):
        super().__init__()
        self.weight = weight_VD

    def forward(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Log-probs of `targets_N` where `hidden_ND` predicts, float32 of shape [N]."""
        logprobs_N: Tensor = _TargetLogProbs.apply(hidden_ND, self.weight, targets_N)
        return logprobs_N


class _TargetLogProbs(torch.autograd.Function):
    """Log-softmax of the head's logits at the targets. The backward pass computes the logits again."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        picked, log_sums = [], []
        most, most_float = _rows_at_a_time(len(weight_VD), weight_VD.device.type)
        for rows in _parts(len(targets_N), most):
            logits = hidden_ND[rows] @ weight_VD.T
            picked.append(logits.gather(1, targets_N[rows, None])[:, 0].float())
            log_sums += [logits[few].float().logsumexp(1) for few in _parts(len(logits), most_float)]
        log_sums_N = torch.cat(log_sums)
        ctx.save_for_backward(hidden_ND, weight_VD, targets_N, log_sums_N)
        return torch.cat(picked) - log_sums_N

    @staticmethod
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor, Tensor | None, None]:
        hidden_ND, weight_VD, targets_N, log_sums_N = ctx.saved_tensors
        hidden_gradient = torch.empty_like(hidden_ND)
        weight_gradient = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        most, most_float = _rows_at_a_time(len(weight_VD), weight_VD.device.type)
        for rows in _parts(len(targets_N), most):
            logits = hidden_ND[rows] @ weight_VD.T
            log_sums, targets, gradient = log_sums_N[rows], targets_N[rows], gradient_N[rows]
            for few in _parts(len(logits), most_float):
                # d log p(target) / d logits = onehot(target) − softmax(logits)
                slope = logits[few].float().sub_(log_sums[few, None]).exp_().neg_()
                slope.scatter_add_(1, targets[few, None], torch.ones_like(slope[:, :1]))
                logits[few] = slope.mul_(gradient[few, None])
            hidden_gradient[rows] = logits @ weight_VD
            if weight_gradient is not None:
                weight_gradient.addmm_(logits.T, hidden_ND[rows])
        return hidden_gradient, weight_gradient, None


def _rows_at_a_time(vocabulary: int, device: str) -> tuple[int, int]:
    """Rows of logits that may be alive in the model's dtype, and of these in float32."""
    most, most_float = (max(1, logits // vocabulary) for logits in _LOGITS[device])
    return most, most_float


def _parts(count: int, size: int) -> list[slice]:
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]
