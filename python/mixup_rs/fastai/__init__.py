"""Callbacks and a metric for fastai: drop-ins for its MixUp and CutMix.

learn = vision_learner(dls, resnet34, cbs=RustMixUp)
"""

try:
    from mixup_rs.fastai.callbacks import MixCollateEpoch, RustCutMix, RustMix, RustMixUp
    from mixup_rs.fastai.manifold import RustManifoldMixUp
    from mixup_rs.fastai.metrics import MixedAccuracy
except ModuleNotFoundError as error:
    text = "mixup_rs.fastai needs fastai: pip install 'mixup-rs[fastai]'"
    raise ModuleNotFoundError(text, name=error.name) from error

__all__ = ["MixCollateEpoch", "MixedAccuracy", "RustCutMix", "RustManifoldMixUp", "RustMix", "RustMixUp"]
