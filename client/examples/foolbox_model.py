"""A served model as a PyTorch module, which is what Foolbox takes: PyTorch's backward pass calls the server."""
import foolbox
import torch


class Remote(torch.autograd.Function):
    """Logits from Predict; the product of a cotangent with their Jacobian from Gradient."""

    @staticmethod
    def forward(ctx, x, served):
        ctx.served = served
        ctx.save_for_backward(x)
        return torch.tensor(served.logits(x.detach().cpu().numpy()), device=x.device)

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        product = ctx.served.pull_back(x.cpu().numpy(), cotangent.cpu().numpy())
        return torch.tensor(product, device=x.device), None


class ServedModule(torch.nn.Module):
    def __init__(self, served):
        super().__init__()
        self.served = served

    def forward(self, x):
        return Remote.apply(x, self.served)


def foolbox_model(served):
    """The model with its bounds, for any attack of Foolbox."""
    bounds = (served.info.input.low, served.info.input.high)
    return foolbox.PyTorchModel(ServedModule(served).eval(), bounds=bounds, device="cpu")
