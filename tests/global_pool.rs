//! No code may start rayon's global pool, which hangs in a forked child.

use mixup_rs::{BYTES_PER_THREAD, CutMix, Key, Lam, MixPlan, Mixup, Rule, SoftTargets, runtime};
use ndarray::{Array2, Array3, ShapeBuilder};

/// Runs every kind of work that uses threads, on batches large enough for them: apart, in place and packed.
#[test]
fn the_global_pool_is_never_started() {
    const N: usize = 8;
    runtime::set_limit(2);
    let plan = Mixup::default().plan(N, &[], Key::new(&[1])).unwrap();
    let repeated = MixPlan::new(Lam::Shared(0.3), vec![0; N]).unwrap();
    let width = 2 * BYTES_PER_THREAD / N / size_of::<f32>() + 1;
    let mut batch = Array2::from_elem((N, width), 0.5_f32);
    let mut packed = Array2::from_elem((N, width).f(), 0.5_f32);
    for plan in [&plan, &repeated] {
        plan.apply(batch.view()).unwrap();
        plan.apply(packed.view()).unwrap();
        plan.apply_in_place(batch.view_mut()).unwrap();
        plan.apply_in_place(packed.view_mut()).unwrap();
    }
    let boxes = CutMix::default().plan(N, &[2, width], Key::new(&[1])).unwrap();
    let mut images = Array3::from_elem((N, 2, width), 0.5_f32);
    boxes.apply(images.view()).unwrap();
    boxes.apply_in_place(images.view_mut()).unwrap();
    let soft = SoftTargets::new(3, 0.1).unwrap();
    plan.soft_targets(&[0_i64; N], None, soft, &mut [0.0; 3 * N]).unwrap();

    if runtime::available() > 1 {
        assert!(names().iter().any(|name| name.starts_with("mixup-rs")), "nothing ran on threads: {:?}", names());
    }
    // Fails if the global pool exists already.
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the global pool is not started");
}

/// The names of the threads of this process. Systems without /proc pass the test.
fn names() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return vec!["mixup-rs (assumed)".into()] };
    tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).collect()
}
