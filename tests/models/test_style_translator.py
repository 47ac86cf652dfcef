import torch

from a2bgan.models.style_translator import StyleTranslator


def test_masks_learn_under_bfloat16_as_without():
    torch.manual_seed(0)
    translator = StyleTranslator(1, 8, 1, 4, 8, "council", "reflect")
    outputs = []
    translator.layers[-1].register_forward_hook(lambda *of: outputs.append(of[-1]))
    x = torch.rand(2, 1, 32, 32) * 2 - 1

    def share_with_gradient(precise):
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            (made,) = translator(x, [torch.ones(2, 4)])
        (gradient,) = torch.autograd.grad(made.masks.float().sum(), outputs.pop())
        return (gradient[:, -3:] != 0).float().mean()

    assert share_with_gradient(precise=False) > 0.95 * share_with_gradient(precise=True)
