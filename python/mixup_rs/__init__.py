from mixup_rs._core import (
    STREAM_VERSION,
    MixedBatch,
    MixPlan,
    __version__,
    clear_cache,
    get_num_threads,
    mix_batch,
    set_num_threads,
)
