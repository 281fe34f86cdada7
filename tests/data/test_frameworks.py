"""Lightning and accelerate, as they are: a run that was stopped and resumed is bit for bit the run that never was."""

import logging
from types import SimpleNamespace

import accelerate
import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.bench import _torchvision

PICTURES = np.random.default_rng(0).integers(0, 255, (10, 6, 8, 3), dtype=np.uint8), np.arange(10)
AUGMENTED = am.Recipe([am.RandomResizedCrop(4), am.RandomHorizontalFlip(), am.OneOf([am.MixUp(), am.CutMix()])])


def make_loader(**arguments):
    return am.Loader(PICTURES, AUGMENTED, 3, seed=1, with_index=True, **arguments)


def make_net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10))


def loss_of(net, batch):
    return torch.nn.functional.cross_entropy(net(batch[0]), batch[1])


def record(seen, epoch, batch):
    seen.append((epoch, batch[2].tolist(), batch[0].double().sum().item(), batch[1].double().square().sum().item()))


def same_weights(net, other):
    return all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


# ---------------------------------------------------------------- Lightning


@pytest.fixture(scope="module")
def lightning():
    _torchvision.v2()  # torchmetrics imports torchvision, which may have been built for another torch
    import lightning

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return lightning


def fit(lightning, epochs=3, save=None, resume=None, validate=True, loader=None, **arguments):
    """A run of three epochs of four batches; ``save``: (hook, its moment, file)."""

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.seen = make_net(), []

        def training_step(self, batch, _):
            record(self.seen, self.current_epoch, batch)
            return loss_of(self.net, batch)

        def validation_step(self, batch, _):
            return loss_of(self.net, batch)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    callbacks = []
    if save:
        hook, moment, path = save
        callback = lightning.Callback()
        setattr(callback, hook, lambda trainer, *_, **__: moment(trainer) and trainer.save_checkpoint(path))
        callbacks = [callback]
    model = Model()
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
                                enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
                                callbacks=callbacks, **arguments)
    held_out = am.Loader(PICTURES, am.Recipe([am.Resize((4, 4))]), 5, shuffle=False) if validate else None
    trainer.fit(model, loader or make_loader(), held_out, ckpt_path=resume)
    return model


MOMENTS = {
    "before the first epoch": ("on_train_start", lambda trainer: True, 12),
    "in an epoch": ("on_train_batch_end", lambda trainer: trainer.global_step == 6, 6),
    "after an epoch's last batch": ("on_train_batch_end", lambda trainer: trainer.global_step == 8, 4),
    "after an epoch": ("on_train_epoch_end", lambda trainer: trainer.current_epoch == 1, 4),
    "before the validation": ("on_validation_start", lambda trainer: trainer.current_epoch == 1, 4),
    "after the validation": ("on_validation_end", lambda trainer: trainer.current_epoch == 1, 4),
}


@pytest.fixture(scope="module")
def straight(lightning):
    return {validate: fit(lightning, validate=validate) for validate in (False, True)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("validate", [False, True])
def test_a_lightning_run_is_resumed(lightning, straight, tmp_path, moment, validate):
    hook, when, left = MOMENTS[moment]
    if "valid" in hook and not validate:
        pytest.skip("there is no such moment without a validation")
    fit(lightning, save=(hook, when, tmp_path / "saved.ckpt"), validate=validate)
    resumed = fit(lightning, resume=tmp_path / "saved.ckpt", validate=validate)
    assert resumed.seen == straight[validate].seen[-left:]
    assert same_weights(resumed.net, straight[validate].net)


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_run_is_made_longer(lightning, straight, tmp_path):
    fit(lightning, epochs=2, save=("on_train_end", lambda trainer: True, tmp_path / "saved.ckpt"))
    resumed = fit(lightning, resume=tmp_path / "saved.ckpt")
    assert resumed.seen == straight[True].seen[-4:] and same_weights(resumed.net, straight[True].net)


@pytest.mark.filterwarnings("ignore")
def test_lightning_counts_the_epochs_when_it_limits_them(lightning, straight):
    seen = fit(lightning, limit_train_batches=2).seen
    whole = straight[True].seen
    assert seen == [*whole[:2], *whole[4:6], *whole[8:10]]
    few = fit(lightning, overfit_batches=2, loader=make_loader(shuffle=False)).seen
    assert [ids for _, ids, *_ in few] == [[0, 1, 2], [3, 4, 5]] * 3


# ---------------------------------------------------------------- accelerate




def run_accelerate(folder, stop=None, resume=False, skip=False, epochs=3):
    """Plain accelerate; ``stop``: after how many steps it saves and ends. ``skip``: its loop leaves out what was done."""
    accelerator = accelerate.Accelerator(cpu=True)
    net, loader = make_net(), make_loader()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    net, optimizer, prepared = accelerator.prepare(net, optimizer, loader)
    assert prepared is loader
    place = SimpleNamespace(steps=0)
    place.state_dict, place.load_state_dict = lambda: {"steps": place.steps}, place.__dict__.update
    accelerator.register_for_checkpointing(*([place] if skip else [place, loader]))
    if resume:
        accelerator.load_state(folder)
    done, seen = place.steps, []
    for epoch in range(done // len(loader), epochs):
        active = prepared
        if skip:
            loader.set_epoch(epoch)
            if done > epoch * len(loader):
                active = accelerate.skip_first_batches(prepared, done - epoch * len(loader))
        for batch in active:
            record(seen, loader.stats.epoch, batch)
            accelerator.backward(loss_of(net, batch))
            optimizer.step()
            optimizer.zero_grad()
            place.steps += 1
            if place.steps == stop:
                accelerator.save_state(folder)
                return seen, net
    assert loader.epoch == (epochs - 1 if skip else epochs)
    return seen, net


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("stop", [6, 8, 11])
def test_an_accelerate_run_is_resumed(tmp_path, stop, skip):
    seen, net = run_accelerate(tmp_path)
    first, _ = run_accelerate(tmp_path, stop=stop, skip=skip)
    rest, resumed = run_accelerate(tmp_path, resume=True, skip=skip)
    assert first + rest == seen and len(first) == stop and same_weights(net, resumed)


def test_an_accelerate_run_is_saved_before_it_begins(tmp_path):
    accelerator = accelerate.Accelerator(cpu=True)
    loader = make_loader()
    accelerator.register_for_checkpointing(loader)
    accelerator.save_state(tmp_path)
    whole = [batch[2].tolist() for batch in loader]
    assert loader.epoch == 1
    accelerator.load_state(tmp_path)
    assert [batch[2].tolist() for batch in loader] == whole


def test_skipping_reads_nothing_and_counts_the_epoch():
    loader = make_loader()
    whole = [batch[2].tolist() for batch in make_loader()]
    rest = accelerate.skip_first_batches(loader, 2)
    assert len(rest) == 2 and [batch[2].tolist() for batch in rest] == whole[2:]
    assert loader.stats.batches == 2 and loader.epoch == 1
    partly = iter(accelerate.skip_first_batches(loader, 1))
    next(partly)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (1, 2)
