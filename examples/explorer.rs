//! The core of the explorer, the page in docs/explorer, as a library for WebAssembly: `make wasm`.
//!
//! The page writes arguments into memory from [`allocate`] and reads results from the pointers that it gets. A rule is
//! a line of words: its name, then its options in the order of its Python class, such as `mixup 0.4 elem true 1`. A
//! call that fails returns a null pointer or false, and [`message`] says why.

#![allow(unsafe_code, clippy::missing_safety_doc)] // Every pointer comes from the page; the functions name what it is.

use std::cell::RefCell;
use std::str::{FromStr, SplitWhitespace};

use mixup_rs::{
    Choice, CutMix, FMix, GridMix, Key, Lam, MixPlan, Mixup, Mode, OneOf, Rect, ResizeMix, Rule, SmoothMix, SoftTargets,
};
use ndarray::{ArrayView, ArrayViewMut};

type Result<T> = std::result::Result<T, String>;

/// The words of a rule that are not read yet.
struct Words<'a>(SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn text(&mut self) -> Result<&'a str> {
        self.0.next().ok_or_else(|| "the rule ends too early".into())
    }

    fn value<T: FromStr>(&mut self) -> Result<T> {
        parsed(self.text()?)
    }

    fn mode(&mut self) -> Result<Mode> {
        match self.text()? {
            "elem" => Ok(Mode::Elem),
            "pair" => Ok(Mode::Pair),
            "batch" => Ok(Mode::Batch),
            other => Err(format!("there is no mode {other}")),
        }
    }

    /// `count` values, or the word `none`.
    fn values<T: FromStr>(&mut self, count: usize) -> Result<Option<Vec<T>>> {
        match (count, self.text()?) {
            (_, "none") => Ok(None),
            (0, word) => Err(format!("expected none, got {word}")),
            (_, first) => {
                std::iter::once(parsed(first)).chain((1..count).map(|_| self.value())).collect::<Result<_>>().map(Some)
            }
        }
    }

    fn rule(&mut self) -> Result<Box<dyn Rule>> {
        // The fields are read in the order in which they stand here.
        Ok(match self.text()? {
            "mixup" => Box::new(Mixup {
                alpha: self.value()?,
                mode: self.mode()?,
                fold: self.value()?,
                prob: self.value()?,
                ..Mixup::default()
            }),
            "cutmix" => Box::new(CutMix {
                in_middle: false,
                alpha: self.value()?,
                mode: self.mode()?,
                minmax: self.values(2)?.map(|bounds| (bounds[0], bounds[1])),
                prob: self.value()?,
            }),
            "fmix" => Box::new(FMix {
                alpha: self.value()?,
                decay: self.value()?,
                soft: self.value()?,
                mode: self.mode()?,
                prob: self.value()?,
            }),
            "gridmix" => Box::new(GridMix {
                alpha: self.value()?,
                cells: (self.value()?, self.value()?),
                mode: self.mode()?,
                prob: self.value()?,
            }),
            "smoothmix" => Box::new(SmoothMix { alpha: self.value()?, mode: self.mode()?, prob: self.value()? }),
            "resizemix" => {
                Box::new(ResizeMix { scale: (self.value()?, self.value()?), mode: self.mode()?, prob: self.value()? })
            }
            "one_of" => {
                let count = self.value()?;
                let rules = (0..count).map(|_| self.rule()).collect::<Result<_>>()?;
                let (probs, mode) = (self.values(count)?, self.mode()?);
                Box::new(OneOf { rules, choice: Choice::new(count, probs, mode).map_err(|error| error.to_string())? })
            }
            other => return Err(format!("there is no rule {other}")),
        })
    }
}

fn parsed<T: FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| format!("{word} is not a value of this option"))
}

/// A plan, and its boxes as the page reads them: the starts along three axes, then the ends.
pub struct Plan {
    plan: MixPlan,
    boxes: Option<Vec<usize>>,
}

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What `result` holds; if that is an error, `failed`, and [`message`] says why.
fn or_message<T, E: ToString>(result: std::result::Result<T, E>, failed: T) -> T {
    result.unwrap_or_else(|error| {
        MESSAGE.replace(error.to_string());
        failed
    })
}

fn owned<E: ToString>(plan: std::result::Result<MixPlan, E>) -> *mut Plan {
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

/// Draws a plan for `n` samples of `height` × `width` by the rule of these words, in UTF-8, with a key of whole numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn draw(
    words: *const u8,
    length: usize,
    key: *const u64,
    items: usize,
    n: usize,
    height: usize,
    width: usize,
) -> *mut Plan {
    // SAFETY: the page has written as many of each.
    let (words, key) = unsafe { (std::slice::from_raw_parts(words, length), std::slice::from_raw_parts(key, items)) };
    let drawn = std::str::from_utf8(words).map_err(|error| error.to_string()).and_then(|words| {
        let rule = Words(words.split_whitespace()).rule()?;
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
