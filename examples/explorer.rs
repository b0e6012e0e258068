//! The core of the explorer, the page in docs/explorer, as a library for WebAssembly: `make wasm`.
//!
//! The page writes arguments into memory from [`allocate`] and reads results from the pointers that it gets. A rule is
//! the text that makes it in Python, such as `Mixup(alpha=0.4)`. A call that fails returns a null pointer or false, and
//! [`message`] says why.

#![allow(unsafe_code, clippy::missing_safety_doc)] // Every pointer comes from the page; the functions name what it is.

use std::cell::RefCell;

use mixup_rs::{Key, Lam, MixError, MixPlan, Rect, Rule, SoftTargets};
use ndarray::{ArrayView, ArrayViewMut};

/// A plan, and its boxes as the page reads them: the starts along three axes, then the ends.
pub struct Plan {
    plan: MixPlan,
    boxes: Option<Vec<usize>>,
}

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What `result` holds; if that is an error, `failed`, and [`message`] says why.
fn or_message<T, E: ToString>(result: Result<T, E>, failed: T) -> T {
    result.unwrap_or_else(|error| {
        MESSAGE.replace(error.to_string());
        failed
    })
}

fn owned<E: ToString>(plan: Result<MixPlan, E>) -> *mut Plan {
    let plan = plan.map(|plan| {
        let bounds = |rect: &Rect| [rect.start, rect.end].concat();
        let boxes = plan.boxes().map(|boxes| boxes.iter().flat_map(bounds).collect());
        Box::into_raw(Box::new(Plan { plan, boxes }))
    });
    or_message(plan, std::ptr::null_mut())
}

/// Memory of this many 64-bit words, zeroed, until [`release`].
#[unsafe(no_mangle)]
pub extern "C" fn allocate(words: usize) -> *mut u64 {
    Box::into_raw(vec![0_u64; words].into_boxed_slice()).cast()
}

/// Gives back what [`allocate`] returned for this many words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn release(start: *mut u64, words: usize) {
    // SAFETY: it is a box of this length.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(start, words)) });
}

/// The reason of the last failure, in UTF-8, valid until the next call.
#[unsafe(no_mangle)]
pub extern "C" fn message() -> *const u8 {
    MESSAGE.with_borrow(|text| text.as_ptr())
}

/// The number of bytes of [`message`].
#[unsafe(no_mangle)]
pub extern "C" fn message_length() -> usize {
    MESSAGE.with_borrow(|text| text.len())
}

/// Draws a plan for `n` samples of `height` × `width` by the rule of this text, in UTF-8, with a key of whole numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn draw(
    text: *const u8,
    length: usize,
    key: *const u64,
    items: usize,
    n: usize,
    height: usize,
    width: usize,
) -> *mut Plan {
    // SAFETY: the page has written as many of each.
    let (text, key) = unsafe { (std::slice::from_raw_parts(text, length), std::slice::from_raw_parts(key, items)) };
    let drawn = std::str::from_utf8(text).map_err(|error| error.to_string()).and_then(|text| {
        let rule: Box<dyn Rule> = text.parse().map_err(|error: MixError| error.to_string())?;
        rule.plan(n, &[height, width], Key::new(key)).map_err(|error| error.to_string())
    });
    owned(drawn)
}

/// The plan that blends each of two samples with the other.
#[unsafe(no_mangle)]
pub extern "C" fn blend(lam: f64) -> *mut Plan {
    owned(MixPlan::new(Lam::Shared(lam), vec![1, 0]))
}

/// The plan that takes a box of each of two samples of `height` × `width` from the other.
#[unsafe(no_mangle)]
pub extern "C" fn cut(top: usize, left: usize, bottom: usize, right: usize, height: usize, width: usize) -> *mut Plan {
    let rect = Rect::new(&[top, left], &[bottom, right]);
    owned(MixPlan::from_boxes(vec![rect; 2], &[height, width], vec![1, 0], Lam::Shared(1.0)))
}

/// Frees a plan.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_plan(plan: *mut Plan) {
    // SAFETY: it comes from `owned`.
    drop(unsafe { Box::from_raw(plan) });
}

/// [`MixPlan::lam`], one per sample.
#[unsafe(no_mangle)]
pub extern "C" fn lam(plan: &Plan) -> *const f64 {
    plan.plan.lam().as_ptr()
}

/// [`MixPlan::weight`], one per sample.
#[unsafe(no_mangle)]
pub extern "C" fn weight(plan: &Plan) -> *const f64 {
    plan.plan.weight().as_ptr()
}

/// [`MixPlan::partner`], one per sample.
#[unsafe(no_mangle)]
pub extern "C" fn partner(plan: &Plan) -> *const usize {
    plan.plan.partner().as_ptr()
}

/// Six bounds per sample, the starts along three axes, then the ends; null for a plan without boxes.
#[unsafe(no_mangle)]
pub extern "C" fn boxes(plan: &Plan) -> *const usize {
    plan.boxes.as_ref().map_or(std::ptr::null(), |boxes| boxes.as_ptr())
}

/// Mixes samples of `height` × `width` pixels with four channels each, the last axis.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn apply(plan: &Plan, x: *const u8, out: *mut u8, height: usize, width: usize) -> bool {
    let shape = (plan.plan.len(), height, width, 4);
    // The last axes are those of the regions.
    let order = [0, 3, 1, 2];
    // SAFETY: the page has allocated both, with this shape and apart.
    let (x, out) = unsafe { (ArrayView::from_shape_ptr(shape, x), ArrayViewMut::from_shape_ptr(shape, out)) };
    or_message(plan.plan.apply_into(x.permuted_axes(order), out.permuted_axes(order)).map(|()| true), false)
}

/// Fills `targets` with the soft targets of class indices, a row of `num_classes` per sample.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn soft_targets(plan: &Plan, classes: *const u32, num_classes: usize, targets: *mut f32) -> bool {
    let n = plan.plan.len();
    // SAFETY: the page has allocated as many of each.
    let (classes, targets) = unsafe {
        (std::slice::from_raw_parts(classes, n), std::slice::from_raw_parts_mut(targets, n.saturating_mul(num_classes)))
    };
    let filled = SoftTargets::new(num_classes, 0.0)
        .and_then(|how| plan.plan.soft_targets(classes, None, how, targets))
        .map(|()| true);
    or_message(filled, false)
}
