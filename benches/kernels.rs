//! Benchmarks of the kernels on data in the first-level cache, of the drivers on batches that do not fit it, and of
//! drawing plans. `MIXUP_RS_SIMD` selects the instruction set, `MIXUP_RS_NUM_THREADS` the number of threads.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};
use mixup_rs::{CutMix, Element, Key, Lam, MixPlan, Mixup, Rule};
use ndarray::{Array2, ArrayD, IxDyn, ShapeBuilder};

/// Bytes per sample of a batch of two, which the first-level cache holds.
const CACHED_BYTES: usize = 8 << 10;

fn kernels(criterion: &mut Criterion) {
    fn blend<T: Element>(criterion: &mut Criterion, dtype: &str) {
        let len = CACHED_BYTES / size_of::<T>();
        let mut batch = Array2::<T>::default((2, len));
        let mut group = criterion.benchmark_group(format!("blend/{}", mixup_rs::Level::current().name()));
        group.throughput(Throughput::Bytes(2 * CACHED_BYTES as u64));
        for (near, lam) in [("own", 0.7), ("partner", 0.3)] {
            let plan = MixPlan::new(Lam::Shared(lam), vec![1, 0]).expect("a plan of two");
            group.bench_function(BenchmarkId::new(dtype, near), |bencher| {
                bencher.iter(|| plan.apply_in_place(black_box(&mut batch).view_mut()));
            });
        }
    }
    blend::<f64>(criterion, "f64");
    blend::<f32>(criterion, "f32");
    blend::<f16>(criterion, "f16");
    blend::<bf16>(criterion, "bf16");
    blend::<u8>(criterion, "u8");
    blend::<i8>(criterion, "i8");
    blend::<u16>(criterion, "u16");
    blend::<i16>(criterion, "i16");
}

fn layouts(criterion: &mut Criterion) {
    const SHAPE: [usize; 4] = [64, 3, 64, 64];
    let plan = Mixup::default().plan(SHAPE[0], &[], Key::new(&[1])).expect("a drawn plan");
    let c_order = ArrayD::<f32>::zeros(IxDyn(&SHAPE));
    let fortran = ArrayD::<f32>::zeros(IxDyn(&SHAPE).f());
    let mut mirrored = c_order.clone();
    mirrored.invert_axis(ndarray::Axis(3));
    let mut group = criterion.benchmark_group("layout");
    group.throughput(Throughput::Bytes(size_of_val(c_order.as_slice().expect("C order")) as u64));
    for (name, mut batch) in [("c", c_order.clone()), ("fortran", fortran)] {
        group.bench_function(BenchmarkId::new("in place", name), |bencher| {
            bencher.iter(|| plan.apply_in_place(black_box(&mut batch).view_mut()));
        });
    }
    let mut out = c_order.clone();
    for (name, batch) in [("c", c_order), ("mirrored", mirrored)] {
        group.bench_function(BenchmarkId::new("into C order", name), |bencher| {
            bencher.iter(|| plan.apply_into(black_box(batch.view()), out.view_mut()));
        });
    }
}

fn draws(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("draw");
    for n in [4, 64, 16384] {
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("mixup", n), |bencher| {
            bencher.iter(|| Mixup::default().plan(black_box(n), &[], Key::new(&[1])));
        });
        group.bench_function(BenchmarkId::new("cutmix", n), |bencher| {
            bencher.iter(|| CutMix::default().plan(black_box(n), &[224, 224], Key::new(&[1])));
        });
    }
}

criterion_group!(benches, kernels, layouts, draws);
criterion_main!(benches);
