//! Drawn values: what drawn.txt, which the Python tests read as well, says of each rule.

use std::fmt::Write;

use mixup_rs::{Key, MAX_SPATIAL_AXES, MixPlan, Rule, STREAM_VERSION};

use crate::fnv;

const PINNED: &str = include_str!("drawn.txt");

/// More values than these are pinned by their hash.
const LONGEST: usize = 16;

/// A test for each rule, so that `cargo test --test goldens -- fmix` runs that of FMix.
macro_rules! rules {
    ($($rule:ident)*) => {
        $(#[test]
        fn $rule() {
            check(stringify!($rule));
        })*

        const RULES: &[&str] = &[$(stringify!($rule)),*];
    };
}

rules! { mixup cutmix fmix gridmix smoothmix resizemix oneof }

#[test]
fn every_rule_that_is_pinned_has_a_test() {
    let has_test = |paragraph: &str| RULES.contains(&rule_of(paragraph).as_str());
    let lacks = paragraphs().find(|paragraph| !has_test(paragraph));
    assert_eq!(lacks, None, "name its rule in `rules!` of tests/goldens/drawn.rs");
    assert!(PINNED.contains(&format!("\nSTREAM_VERSION {STREAM_VERSION}\n")));
}

/// One for each rule and key. The first of the file says what they are.
fn paragraphs() -> impl Iterator<Item = &'static str> {
    PINNED.trim_end().split("\n\n").skip(1)
}

/// The name of the rule of a paragraph, in lower case.
fn rule_of(paragraph: &str) -> String {
    paragraph.split('(').next().unwrap_or_default().to_lowercase()
}

fn check(rule: &str) {
    let mut pinned = 0;
    for paragraph in paragraphs().filter(|paragraph| rule_of(paragraph) == rule) {
        let head = paragraph.lines().next().unwrap();
        let drawn = format!("{head}\n{}", shown(&drawn(head)));
        assert_eq!(drawn.trim_end(), paragraph, "tests/goldens/drawn.txt says otherwise; now is drawn:\n{drawn}");
        pinned += 1;
    }
    assert!(pinned > 0, "nothing of {rule} is pinned in tests/goldens/drawn.txt");
}

/// What is drawn by the first line of a paragraph.
fn drawn(head: &str) -> MixPlan {
    let [rule, n, shape, key] = head.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
        panic!("expected rule | n | shape | key, got {head}");
    };
    let rule: Box<dyn Rule> = rule.parse().unwrap_or_else(|error| panic!("{error}, in {head}"));
    let shape: Vec<usize> = shape.split_whitespace().map(|len| len.parse().unwrap()).collect();
    let digits: Vec<Vec<u64>> = key.split_whitespace().map(|item| digits(item.parse().unwrap())).collect();
    rule.plan(n.parse().unwrap(), &shape, Key::from_digits(digits.iter().map(Vec::as_slice))).unwrap()
}

/// The 64-bit digits of a number of a key, the least significant first.
fn digits(item: u128) -> Vec<u64> {
    if item >> 64 == 0 { vec![item as u64] } else { vec![item as u64, (item >> 64) as u64] }
}

/// What a plan says, in lines of text: weights and partners, and boxes, or the share and a hash of masks.
fn shown(plan: &MixPlan) -> String {
    let mut lines = String::new();
    if let Some(masks) = plan.masks() {
        lines += &line("lam", plan.lam(), hex, f64::to_bits);
        lines += &hash("masks", masks.into_iter().flatten().map(f64::to_bits));
    } else {
        let weights = if plan.k() > 2 { plan.weights() } else { plan.weight().to_vec() };
        lines += &line("weight", &weights, hex, f64::to_bits);
    }
    lines += &line("partner", plan.partner(), |partner| partner.to_string(), |partner| partner as u64);
    if let Some(boxes) = plan.boxes() {
        let axes = MAX_SPATIAL_AXES - plan.spatial_shape().unwrap().len();
        let bounds = |ends: [usize; 3]| ends[axes..].iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
        let each: Vec<_> = boxes.iter().map(|rect| [rect.start, rect.end].map(bounds).join(" ")).collect();
        writeln!(lines, "boxes {}", each.join(", ")).unwrap();
    }
    lines
}

fn line<T: Copy>(name: &str, values: &[T], written: impl Fn(T) -> String, bits: impl Fn(T) -> u64) -> String {
    if values.len() > LONGEST {
        return hash(name, values.iter().map(|&value| bits(value)));
    }
    let words: Vec<_> = values.iter().map(|&value| written(value)).collect();
    format!("{name} {}\n", words.join(" "))
}

fn hash(name: &str, words: impl Iterator<Item = u64>) -> String {
    format!("{name} fnv {:016x}\n", fnv(words))
}

/// A weight as Python's `float.hex` writes it, but 1.
fn hex(weight: f64) -> String {
    match (weight, weight.to_bits()) {
        (1.0, _) => "1".into(),
        (0.0, _) => "0x0.0p+0".into(),
        (_, bits) => format!("0x1.{:013x}p{:+}", bits & ((1 << 52) - 1), (bits >> 52) as i32 - 1023),
    }
}
