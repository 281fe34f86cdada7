"""AdaptPoint (Wang et al., "Sample-adaptive augmentation for point cloud recognition against real-world corruptions", ICCV 2023):
a network bends each cloud and drops points of it, so that a classifier finds it harder and a discriminator finds it real.

    adapt = AdaptPoint(classes=15)
    optimizers = adapt.optimizers()
    for epoch in range(300):
        fakes = adapt.epoch(batches, classifier, optimizers, epoch=epoch, epochs=300)    # generator and discriminator
        classifier_epoch(fakes, classifier, optimizer)                                   # the classifier, on fakes alone
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.learned import draws
from anamorph.learned.adaptpoint_nets import NEIGHBOURS, SIGMA, TAU, WIDTHS, Discriminator, Generated, Generator, cloud
from anamorph.learned.draws import Key
from anamorph.learned.frozen import frozen

__all__ = ["AdaptPoint", "Discriminator", "Fakes", "Generated", "Generator", "Optimizers", "Step", "classifier_epoch",
           "cross_entropy", "discriminator_loss", "feedback_loss", "frozen", "generator_loss", "hardness"]

REAL, FAKE = 0.9, 0.1  # labels of the discriminator; the generator's target is the real ones'
RATES, BETAS = (1e-4, 4e-4), (0.5, 0.999)  # Adam's, of the generator and of the discriminator


class Fakes(NamedTuple):
    """A batch that the generator made, for the classifier to learn from."""

    points: Tensor  #: [B, N, 3], without gradient
    targets: Tensor  #: int64 [B]
    ids: Tensor  #: int64 [B]


class Optimizers(NamedTuple):
    generator: torch.optim.Optimizer
    discriminator: torch.optim.Optimizer


class Step(NamedTuple):
    """What a step of the generator made and cost. Losses are tensors of one number; what is left out is None."""

    made: Generated  #: without gradient
    loss: Tensor  #: what the generator's step was taken for
    adversarial: Tensor | None
    feedback: Tensor | None
    harder: Tensor | None  #: the classifier's mean loss on the fakes
    easier: Tensor | None  #: and on the clouds as they were


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy of logits: real ones are to be .9, fake ones .1; the mean of both."""
    return (_bce(real, REAL) + _bce(fake, FAKE)) / 2


def generator_loss(fake: Tensor) -> Tensor:
    """The generator's side of it: fake ones are to be .9."""
    return _bce(fake, REAL)


def _bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def check_classes(targets: Tensor, logits: Any) -> None:
    """Logits ``[B, K]``, and where they lie on the host class ids below K."""
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(targets):
        raise ShapeError(f"classifier: expected logits [{len(targets)}, K], given "
                         f"{list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__}")
    if targets.device.type == "cpu" and not bool(((targets >= 0) & (targets < logits.shape[1])).all()):
        raise ArgumentError(f"targets: expected class ids from 0 to {logits.shape[1] - 1}, as many as the classifier has, given "
                            f"{int(targets.min())} to {int(targets.max())}")


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The batch's mean. ``smoothing`` is shared by the other classes, as in OpenPoints (torch's ``label_smoothing`` gives the
    true class a share of it too): of 15 classes and .3 the lowest that can be is 1.403."""
    check_classes(targets, logits)
    others = logits.shape[1] - 1
    if not smoothing or not others:
        return F.cross_entropy(logits, targets)
    logs = F.log_softmax(logits, 1)
    true = logs.gather(1, targets[:, None])[:, 0]
    return -((1 - smoothing) * true + smoothing / others * (logs.sum(1) - true)).mean()


def feedback_loss(harder: Tensor, easier: Tensor, hardness: float) -> Tensor:
    """|1 - exp(L_fake - h L_real)| of a batch's mean losses: 0 where fakes are h times as hard as real ones."""
    return (1 - torch.exp(harder - hardness * easier)).abs()


def hardness(epoch: int, epochs: int, first: float = 3.0, last: float = 3.0) -> float:
    """How many times as hard fakes shall be: linear over the epochs."""
    return first + (last - first) * epoch / epochs


class AdaptPoint(nn.Module):
    """The generator, the discriminator and what they learn by.

    Published settings are the defaults, with two differences: a rotation is one (``compat=True``: PointWOLF's published matrix),
    and the feedback's losses are not smoothed (``smoothing=.3`` as published, where the loss of real clouds of 15 classes is
    1.403 at least, so that three times as hard is above uniform guessing and the feedback is a constant push). Switches, subsets
    and the mask's noise are a function of seed, sample id and step.

    Args:
        classes: the classifier's.
        widths: of the generator, see :class:`Generator`. discriminator: of the discriminator, see :class:`Discriminator`.
        use_deformation, use_mask: what the generator does, one of them at least.
        use_discriminator, use_feedback: what it learns from, one of them at least.
        hardness: (first, last), how many times as hard fakes shall be, over the epochs.
        smoothing: of the labels in the feedback. weight: of the feedback.
        sigma, tau, neighbours, compat: see :class:`Generator`.
        seed: of all that is drawn.

    Raises:
        ArgumentError: what was given and what is expected.
    """

    def __init__(self, classes: int, *, widths: Sequence[int] = WIDTHS, discriminator: Sequence[int] = (64, 128, 1024, 512, 256),
                 use_deformation: bool = True, use_mask: bool = True, use_discriminator: bool = True, use_feedback: bool = True,
                 hardness: Sequence[float] = (3.0, 3.0), smoothing: float = 0.0, weight: float = 1.0, sigma: float = SIGMA,
                 tau: float = TAU, neighbours: int = NEIGHBOURS, compat: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.use_discriminator = checks.flag("use_discriminator", use_discriminator)
        self.use_feedback = checks.flag("use_feedback", use_feedback)
        if not self.use_discriminator and not self.use_feedback:
            checks.wrong("use_feedback", "one of use_discriminator and use_feedback at least", use_feedback)
        first, last = checks.several("hardness", hardness, (2,), "two numbers (first, last)")
        self.hardness = checks.number("hardness", first, 0), checks.number("hardness", last, 0)
        self.smoothing, self.weight = checks.number("smoothing", smoothing, 0, 1), checks.number("weight", weight, 0)
        self.seed = checks.whole("seed", seed, 0, 2**64 - 1)
        classes = checks.whole("classes", classes, 1)
        self.generator = Generator(widths, use_deformation=use_deformation, use_mask=use_mask, sigma=sigma, tau=tau,
                                   neighbours=neighbours, compat=compat)
        self.discriminator = Discriminator(classes, discriminator) if self.use_discriminator else None

    def forward(self, points: Tensor, index: Any, step: int = 0) -> Generated:
        """Fakes of clouds, with gradients to the generator: a function of the networks, the clouds, seed, ids and step.

        Args:
            points: float32 ``[B, N, 3]``, centred and in the unit sphere, N at least 384.
            index: int64 ``[B]``, the sample ids. step: of the training, 0 to 2**32 - 1.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected. On a GPU values are not
                looked at.
        """
        made: Generated = self.generator(points, self.key(points, index, step))
        return made

    def key(self, points: Tensor, index: Any, step: int) -> Key:
        """What a step's numbers are a function of."""
        cloud(points, 1)
        return draws.key(index, self.seed, step, points)

    def optimizers(self, rates: Sequence[float] = RATES, betas: tuple[float, float] = BETAS) -> Optimizers:
        """Adam of the generator and of the discriminator, as published. (The second has nothing to do where there is none.)"""
        of_generator, of_discriminator = rates
        judged = self.discriminator.parameters() if self.discriminator else [nn.Parameter(torch.zeros(1))]
        return Optimizers(torch.optim.Adam(self.generator.parameters(), of_generator, betas),
                          torch.optim.Adam(judged, of_discriminator, betas))

    def generator_step(self, points: Tensor, targets: Tensor, index: Any, classifier: nn.Module,
                       optimizer: torch.optim.Optimizer, *, step: int, epoch: int = 0, epochs: int = 300) -> Step:
        """One step of the generator, through the classifier, which is in evaluation mode meanwhile, and the discriminator;
        neither learns.

        Args:
            points, index, step: as :meth:`forward` takes them. targets: int64 ``[B]``, class ids.
            classifier: ``[B, N, 3]`` to logits ``[B, K]``. Where it wants fewer points, pick them inside.
            optimizer: the generator's. epoch, epochs: for the hardness.
        """
        key = self.key(points, index, step)
        _targets(targets, points)
        made: Generated = self.generator(points, key)
        losses: list[Tensor] = []
        adversarial = feedback = harder = easier = None
        if self.discriminator is not None:
            with frozen(self.discriminator):
                adversarial = generator_loss(self.discriminator(made.points, key, draws.DROP_GENERATOR))
            losses.append(adversarial)
        if self.use_feedback:
            with frozen(classifier, mode=False):
                harder = cross_entropy(classifier(made.points), targets, self.smoothing)
                with torch.no_grad():
                    easier = cross_entropy(classifier(points), targets, self.smoothing)
            feedback = feedback_loss(harder, easier, hardness(epoch, epochs, *self.hardness))
            losses.append(self.weight * feedback)
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return Step(_without_gradient(made), loss.detach(), *map(_bare, (adversarial, feedback, harder, easier)))

    def discriminator_step(self, points: Tensor, fakes: Tensor, index: Any, optimizer: torch.optim.Optimizer, *,
                           step: int) -> Tensor:
        """One step of the discriminator on clouds as they were and on fakes of them; its loss. 0 where there is none."""
        if self.discriminator is None:
            return points.new_zeros(())
        key = self.key(points, index, step)
        cloud(fakes, 1)
        real, fake = self.discriminator(points, key, draws.DROP_REAL), self.discriminator(fakes.detach(), key, draws.DROP_FAKE)
        loss = discriminator_loss(real, fake)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def epoch(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]], classifier: nn.Module, optimizers: Optimizers, *,
              epoch: int = 0, epochs: int = 300, first: int | None = None,
              seen: Callable[[Step, Tensor], None] | None = None) -> list[Fakes]:
        """One pass of steps, generator then discriminator, and the fakes of all of them: the classifier's next epoch is on these
        alone (:func:`classifier_epoch`).

        Args:
            batches: (points, targets, index), as the steps take them.
            classifier: see :meth:`generator_step`. epoch, epochs: of the hardness.
            first: the first step's number; None: a million for each epoch, so no two steps have the same.
            seen: is called after each step, with it and the discriminator's loss.
        """
        step = 1_000_000 * epoch if first is None else first
        kept = []
        for batch in batches:
            if not isinstance(batch, list | tuple) or len(batch) != 3:
                raise ArgumentError("batches: expected (points, targets, index) in each, given "
                                    f"{len(batch) if isinstance(batch, list | tuple) else type(batch).__name__}")
            points, targets, index = batch
            done = self.generator_step(points, targets, index, classifier, optimizers.generator, step=step, epoch=epoch,
                                       epochs=epochs)
            loss = self.discriminator_step(points, done.made.points, index, optimizers.discriminator, step=step)
            kept.append(Fakes(done.made.points, targets, index))
            step += 1
            if seen:
                seen(done, loss)
        return kept


def classifier_epoch(fakes: Iterable[Fakes], classifier: nn.Module, optimizer: torch.optim.Optimizer, *, smoothing: float = 0.3,
                     clip: float | None = 10.0) -> Tensor:
    """The classifier's epoch on stored fakes, in training mode: the mean of its losses.

    Args:
        fakes: as :meth:`AdaptPoint.epoch` gives them. classifier: ``[B, N, 3]`` to logits ``[B, K]``. optimizer: its own.
        smoothing: of labels, see :func:`cross_entropy`; .3 as published. clip: the gradient's largest norm; None: any.
    """
    classifier.train()
    losses = []
    for batch in fakes:
        loss = cross_entropy(classifier(batch.points), batch.targets, smoothing)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(classifier.parameters(), clip)
        optimizer.step()
        losses.append(loss.detach())
    if not losses:
        raise ShapeError("fakes: expected at least one batch, given none")
    return torch.stack(losses).mean()


def _targets(targets: Any, points: Tensor) -> None:
    if not isinstance(targets, Tensor):
        checks.wrong("targets", "an int64 tensor [B]", targets)
    if targets.dtype != torch.int64:
        raise DtypeError(f"targets: expected int64 [B], given {targets.dtype}")
    if list(targets.shape) != [len(points)]:
        raise ShapeError(f"targets: expected [{len(points)}], a class for each cloud, given {list(targets.shape)}")
    if targets.device != points.device:
        raise DeviceError(f"targets: expected on {points.device} as the clouds, given on {targets.device}")


def _without_gradient(made: Generated) -> Generated:
    return Generated(made.points.detach(), made.deformed.detach(), *map(_bare, made[2:]))


def _bare(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.detach()
