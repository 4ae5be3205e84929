"""The attacks that are compared: ours, and what other programs call the same."""
from dataclasses import dataclass, field

import art.attacks.evasion as art
import foolbox.attacks as foolbox
import torch
import torchattacks

from peers import ALL, Peer, art_apgd, art_attack, art_fgsm, art_pgd, art_square, foolbox_attack, foolbox_decision, torch_attack



@dataclass(frozen=True)
class Pair:
    """One attack in one norm. `{queries}` in `ours` is what the other program spent on a sample, in the mean, where it spends about as much on each."""

    ours: str
    norm: str
    samples: int
    theirs: dict[str, Peer] = field(hash=False)
    nearest: bool = False  # whether it looks for the nearest adversarial sample
    anywhere: bool = False  # whether it works without an eps
    wider: int = 1  # by what eps is larger than for the other attacks
    seeds: int = 1  # more where random numbers are drawn

    @property
    def name(self) -> str:
        """Of the attack, with its loss."""
        name, _, parameters = self.ours.partition(":")
        losses = [value for parameter, _, value in (setting.partition("=") for setting in parameters.split(",")) if parameter == "loss"]
        return "-".join([name, *losses])


def pairs() -> list[Pair]:
    return [*one_step(), *iterated(), *autoattack(), *minimum_norm(), *black_box()]


def one_step() -> list[Pair]:
    return [
        Pair("fgsm", "Linf", 200, {
            "torchattacks": torch_attack(lambda model, eps: torchattacks.FGSM(model, eps=eps)),
            "Foolbox": foolbox_attack(foolbox.LinfFastGradientAttack()),
            "ART": art_fgsm("Linf"),
        }),
        Pair("fgsm", "L2", 200, {"Foolbox": foolbox_attack(foolbox.L2FastGradientAttack()), "ART": art_fgsm("L2")}),
        Pair("fgsm", "L1", 200, {"Foolbox": foolbox_attack(foolbox.L1FastGradientAttack()), "ART": art_fgsm("L1")}),
    ]


def iterated() -> list[Pair]:
    few, many = {"steps": 10, "rel_stepsize": 0.25}, {"steps": 40, "rel_stepsize": 0.0625}
    return [
        Pair("bim:steps=10,step=0.25*eps", "Linf", 200, {
            "torchattacks": torch_attack(lambda model, eps: torchattacks.BIM(model, eps=eps, alpha=eps / 4, steps=10)),
            "Foolbox": foolbox_attack(foolbox.LinfBasicIterativeAttack(**few)),
            "ART": art_pgd("Linf", 10, 0.25, 0),
        }),
        Pair("bim:steps=10,step=0.25*eps", "L2", 200, {"Foolbox": foolbox_attack(foolbox.L2BasicIterativeAttack(**few)), "ART": art_pgd("L2", 10, 0.25, 0)}),
        Pair("bim:steps=10,step=0.25*eps", "L1", 200, {"Foolbox": foolbox_attack(foolbox.L1BasicIterativeAttack(**few)), "ART": art_pgd("L1", 10, 0.25, 0)}),
        Pair("mi-fgsm:steps=10,step=0.25*eps", "Linf", 200, {
            "torchattacks": torch_attack(lambda model, eps: torchattacks.MIFGSM(model, eps=eps, alpha=eps / 4, steps=10)),
            "Foolbox": foolbox_attack(foolbox.LinfMomentumIterativeFastGradientMethod(**few)),
            "ART": art_attack(lambda model, eps: art.MomentumIterativeMethod(model, eps=eps, eps_step=eps / 4, max_iter=10, batch_size=ALL, verbose=False)),
        }),
        Pair("mi-fgsm:steps=10,step=0.25*eps", "L2", 200, {
            "ART": art_attack(lambda model, eps: art.MomentumIterativeMethod(model, 2, eps, eps / 4, max_iter=10, batch_size=ALL, verbose=False)),
        }),
        # Foolbox does not scale the sum of its unit gradients: over ten steps it is five units long in the mean.
        Pair("mi-fgsm:steps=10,step=1.25*eps", "L2", 200, {"Foolbox": foolbox_attack(foolbox.L2MomentumIterativeFastGradientMethod(**few))}),
        # In L1 the longer step is the worse one for ours, which moves few elements far; Foolbox's moves all of them.
        Pair("mi-fgsm:steps=10,step=0.25*eps", "L1", 200, {"Foolbox": foolbox_attack(foolbox.L1MomentumIterativeFastGradientMethod(**few))}),
        Pair("pgd:steps=40", "Linf", 100, {
            "torchattacks": torch_attack(lambda model, eps: torchattacks.PGD(model, eps=eps, alpha=eps / 16, steps=40)),
            "Foolbox": foolbox_attack(foolbox.LinfPGD(**many)),
            "ART": art_pgd("Linf", 40, 0.0625, 1),
        }, seeds=3),
        Pair("pgd:steps=40", "L2", 100, {
            "torchattacks": torch_attack(lambda model, eps: torchattacks.PGDL2(model, eps=eps, alpha=eps / 16, steps=40)),
            "Foolbox": foolbox_attack(foolbox.L2PGD(**many)),
            "ART": art_pgd("L2", 40, 0.0625, 1),
        }, seeds=3),
        Pair("pgd:steps=40", "L1", 100, {
            "Foolbox": foolbox_attack(foolbox.L1PGD(**many)),
            "Foolbox, sparse": foolbox_attack(foolbox.SparseL1DescentAttack(**many)),
            "ART": art_pgd("L1", 40, 0.0625, 1),
        }, seeds=3),
    ]


def autoattack() -> list[Pair]:
    return [pair for norm in ("Linf", "L2") for pair in with_original(norm)] + [
        Pair("apgd", "L1", 50, {"ART": art_apgd("L1", "cross_entropy")}, seeds=2),
        Pair("apgd:loss=dlr", "L1", 50, {"ART": art_apgd("L1", "difference_logits_ratio")}, seeds=2),
    ]


def with_original(norm: str) -> list[Pair]:
    """Those that torchattacks has taken from the authors' program."""
    apgd = lambda loss: torch_attack(lambda model, eps: torchattacks.APGD(model, norm, eps, steps=100, loss=loss, seed=torch.initial_seed()))
    targeted = torch_attack(lambda model, eps: torchattacks.APGDT(model, norm, eps, steps=100, n_classes=10, seed=torch.initial_seed()))
    fab = lambda targeted: torch_attack(lambda model, eps: torchattacks.FAB(model, norm, eps, steps=100, multi_targeted=targeted, n_classes=10))
    return [
        Pair("apgd", norm, 50, {"torchattacks": apgd("ce"), "ART": art_apgd(norm, "cross_entropy")}, seeds=2),
        Pair("apgd:loss=dlr", norm, 50, {"torchattacks": apgd("dlr"), "ART": art_apgd(norm, "difference_logits_ratio")}, seeds=2),
        Pair("apgd-t", norm, 25, {"torchattacks": targeted}, seeds=2),
        Pair("fab-t", norm, 25, {"torchattacks": fab(True)}),
        Pair("fab:steps=100", norm, 20, {"torchattacks": fab(False)}),
    ]


def minimum_norm() -> list[Pair]:
    fmn = {"Linf": foolbox.LInfFMNAttack, "L2": foolbox.L2FMNAttack, "L1": foolbox.L1FMNAttack, "L0": foolbox.L0FMNAttack}
    return [
        # torchattacks does not search the weight.
        Pair("cw:searches=1,steps=500,c=1", "L2", 25, {"torchattacks": torch_attack(lambda model, eps: torchattacks.CW(model, c=1, steps=500))}, nearest=True, anywhere=True),
        Pair("cw:searches=5,steps=100,c=0.1", "L2", 25, {
            "Foolbox": foolbox_attack(foolbox.L2CarliniWagnerAttack(binary_search_steps=5, steps=100, initial_const=0.1)),
            # Each of its steps is a line search.
            "ART": art_attack(lambda model, eps: art.CarliniL2Method(model, binary_search_steps=5, max_iter=20, initial_const=0.1, batch_size=ALL, verbose=False)),
        }, nearest=True, anywhere=True),
        Pair("deepfool", "L2", 50, {
            "torchattacks": torch_attack(lambda model, eps: torchattacks.DeepFool(model, steps=50, overshoot=0.02)),
            "Foolbox": foolbox_attack(foolbox.L2DeepFoolAttack(steps=50, candidates=10)),
            "ART": art_attack(lambda model, eps: art.DeepFool(model, max_iter=50, epsilon=0.02, nb_grads=10, batch_size=ALL, verbose=False)),
        }, nearest=True, anywhere=True),
        Pair("deepfool", "Linf", 50, {"Foolbox": foolbox_attack(foolbox.LinfDeepFoolAttack(steps=50, candidates=10))}, nearest=True, anywhere=True),
        Pair("ddn:steps=100", "L2", 50, {"Foolbox": foolbox_attack(foolbox.DDNAttack(steps=100))}, nearest=True, anywhere=True),
        *(Pair("fmn:steps=100", norm, 200 if norm == "L0" else 50, {"Foolbox": foolbox_attack(attack(steps=100))}, nearest=True, anywhere=True) for norm, attack in fmn.items()),
    ]


def black_box() -> list[Pair]:
    square = lambda norm, relative: torch_attack(lambda model, eps: torchattacks.Square(model, norm, eps, n_queries=1000, resc_schedule=relative, seed=torch.initial_seed()))
    jump = lambda constraint: foolbox_decision(foolbox.HopSkipJumpAttack(steps=12, constraint=constraint))
    return [
        *(Pair("square:queries=1000", norm, 50, {"torchattacks": square(norm, False)}, seeds=2) for norm in ("Linf", "L2")),
        *(Pair("square:queries=1000,schedule=relative", norm, 50, {"torchattacks": square(norm, True), "ART": art_square(norm, 1000)}, seeds=2) for norm in ("Linf", "L2")),
        Pair("spsa:queries={queries},pairs=64,delta=0.01", "Linf", 25, {
            "torchattacks": torch_attack(lambda model, eps: torchattacks.SPSA(model, eps=eps, delta=0.01, lr=0.01, nb_iter=10, nb_sample=128)),
        }, seeds=2),
        Pair("simba:queries=601", "L2", 30, {
            "ART": art_attack(lambda model, eps: art.SimBA(model, attack="px", max_iter=300, epsilon=0.2, verbose=False), probabilities=True),
        }, anywhere=True, seeds=2),
        Pair("one-pixel:pixels=3,population=100,generations=10", "L0", 20, {
            "torchattacks": torch_attack(lambda model, eps: torchattacks.OnePixel(model, pixels=3, steps=10, popsize=100)),
        }, anywhere=True, seeds=2),
        Pair("pixle:queries=201", "L0", 20, {"torchattacks": torch_attack(lambda model, eps: torchattacks.Pixle(model))}, anywhere=True, seeds=2),
        Pair("hopskipjump:queries={queries}", "L2", 20, {
            "Foolbox": jump("l2"),
            "ART": art_attack(lambda model, eps: art.HopSkipJump(model, norm=2, max_iter=12, verbose=False)),
        }, nearest=True, anywhere=True, seeds=3),
        Pair("hopskipjump:queries={queries}", "Linf", 20, {"Foolbox": jump("linf")}, nearest=True, anywhere=True, seeds=3),
        Pair("boundary:queries={queries}", "L2", 20, {"Foolbox": foolbox_decision(foolbox.BoundaryAttack(steps=3000))}, nearest=True, anywhere=True, seeds=3),
        Pair("noise:queries=100,distribution=uniform", "Linf", 200, {"Foolbox": foolbox_attack(foolbox.LinfRepeatedAdditiveUniformNoiseAttack(repeats=100))}, wider=4, seeds=2),
        Pair("noise:queries=100", "L2", 200, {"Foolbox": foolbox_attack(foolbox.L2RepeatedAdditiveGaussianNoiseAttack(repeats=100))}, wider=8, seeds=2),
    ]
