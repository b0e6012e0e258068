"""Pictures of mixed batches and of the distribution of lam.

The functions return a matplotlib `Figure`. Without `path` it is pyplot's current figure, as that of fastai's
`show_batch` is: a notebook shows it below the cell, once, and `plt.show()` and `plt.savefig` find it. With `path` it is
saved and pyplot does not know it, so that it need not be closed. No display is needed. matplotlib is imported when a
picture is drawn: `pip install 'mixup-rs[plot]'`.
"""

from mixup_rs.plot.batch import plot_mixed_batch, varied_samples
from mixup_rs.plot.beta import plot_beta
from mixup_rs.plot.gallery import gallery
from mixup_rs.plot.labels import label_text

__all__ = ["gallery", "label_text", "plot_beta", "plot_mixed_batch", "varied_samples"]
