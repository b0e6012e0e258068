//! A rule from the text that makes it in Python, such as `CutMix(alpha=0.5, mode="elem")`.

use std::str::FromStr;

use super::{Choice, OneOf, Rule, Slot, named};
use crate::error::{MixError, Result};
use crate::plan::Mode;

/// What values are called where another comes.
const REAL: &str = "a number";
const COUNT: &str = "a whole number";

/// Reads a rule as Python writes it: its name, and options by name, which otherwise have their defaults. Of `OneOf` the
/// rules may come first without a name.
///
/// ```
/// use mixup_rs::{FMix, Key, Rule};
/// let rule: Box<dyn Rule> = "FMix(decay=2, soft=0.1)".parse()?;
/// let same = FMix { decay: 2.0, soft: 0.1, ..FMix::default() };
/// assert_eq!(rule.plan(4, &[32, 32], Key::new(&[42]))?, same.plan(4, &[32, 32], Key::new(&[42]))?);
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
impl FromStr for Box<dyn Rule> {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self> {
        let mut left = Text(text);
        let rule = left.rule()?;
        if left.rest().is_empty() { Ok(rule) } else { Err(left.wrong("the end")) }
    }
}

/// The text that is not read yet.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn rest(&mut self) -> &'a str {
        self.0 = self.0.trim_start();
        self.0
    }

    /// What was expected instead of what comes.
    fn wrong(&mut self, expected: impl ToString) -> MixError {
        MixError::RuleText { expected: expected.to_string(), got: self.rest().chars().take(20).collect() }
    }

    /// Whether this comes next, which then is read.
    fn has(&mut self, mark: &str) -> bool {
        let Some(rest) = self.rest().strip_prefix(mark) else { return false };
        self.0 = rest;
        true
    }

    fn expect(&mut self, mark: &str) -> Result<()> {
        if self.has(mark) { Ok(()) } else { Err(self.wrong(mark)) }
    }

    /// A name or a number.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let is_part = |char: char| char.is_alphanumeric() || "_.+-".contains(char);
        let (word, rest) = rest.split_at(rest.find(|char| !is_part(char)).unwrap_or(rest.len()));
        self.0 = rest;
        word
    }

    fn value<T: FromStr>(&mut self, expected: &str) -> Result<T> {
        let before = self.rest();
        let value = self.word().parse();
        value.map_err(|_| Text(before).wrong(expected))
    }

    /// The values of a tuple or a list.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let end = if self.has("[") { "]" } else { self.expect("(").map(|()| ")")? };
        let mut items = Vec::new();
        while !self.has(end) {
            items.push(item(self)?);
            if !self.has(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn pair<T: FromStr + Copy>(&mut self, expected: &str) -> Result<(T, T)> {
        let before = self.rest();
        match self.list(|text| text.value(expected))?[..] {
            [first, second] => Ok((first, second)),
            _ => Err(Text(before).wrong("two values")),
        }
    }

    fn mode(&mut self) -> Result<Mode> {
        for (name, mode) in [("elem", Mode::Elem), ("pair", Mode::Pair), ("batch", Mode::Batch)] {
            if self.has(&format!("\"{name}\"")) || self.has(&format!("'{name}'")) {
                return Ok(mode);
            }
        }
        Err(self.wrong("\"elem\", \"pair\" or \"batch\""))
    }

    fn fill(&mut self, slot: Slot<'_>) -> Result<()> {
        match slot {
            Slot::Real(slot) => *slot = self.value(REAL)?,
            Slot::Count(slot, _) => *slot = self.value(COUNT)?,
            Slot::Counts(slot) => *slot = self.pair(COUNT)?,
            Slot::Fractions(slot) => *slot = self.pair(REAL)?,
            Slot::MaybeFractions(slot) => *slot = if self.has("None") { None } else { Some(self.pair(REAL)?) },
            Slot::Switch(slot) => *slot = self.has("True") || self.expect("False").map(|()| false)?,
            Slot::Mode(slot) => *slot = self.mode()?,
            Slot::Given(_) => self.expect("None")?,
        }
        Ok(())
    }

    fn rule(&mut self) -> Result<Box<dyn Rule>> {
        let before = self.rest();
        let name = self.word();
        let rule = named(name);
        if rule.is_none() && name != "OneOf" {
            return Err(Text(before).wrong("the name of a rule"));
        }
        if !self.rest().starts_with('(') {
            return Err(self.wrong("("));
        }
        let Some(mut rule) = rule else { return Ok(Box::new(self.one_of()?)) };
        self.list(|text| {
            let before = text.rest();
            let name = text.word();
            let slot = rule.options().into_iter().find(|(option, _)| *option == name);
            let (_, slot) = slot.ok_or_else(|| Text(before).wrong("the name of an option"))?;
            text.expect("=").and_then(|()| text.fill(slot))
        })?;
        rule.check()?;
        Ok(rule)
    }

    fn one_of(&mut self) -> Result<OneOf> {
        let (mut rules, mut probs, mut mode) = (Vec::new(), None, Mode::Batch);
        self.list(|text| {
            if text.has("probs=") {
                probs = if text.has("None") { None } else { Some(text.list(|text| text.value(REAL))?) };
            } else if text.has("mode=") {
                mode = text.mode()?;
            } else {
                text.has("rules=");
                rules = text.list(Self::rule)?;
            }
            Ok(())
        })?;
        Ok(OneOf { choice: Choice::new(rules.len(), probs, mode)?, rules })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{CutMix, GridMix, Mixup};

    fn read(text: &str) -> String {
        text.parse::<Box<dyn Rule>>().map_or_else(|error| error.to_string(), |rule| format!("{rule:?}"))
    }

    #[test]
    fn options_are_read_by_name() {
        let same = |text, rule: &dyn Rule| assert_eq!(read(text), format!("{rule:?}"));
        same("Mixup()", &Mixup::default());
        same(" Mixup ( fold = False , alpha=2., k=3,) ", &Mixup { alpha: 2.0, fold: false, k: 3, ..Mixup::default() });
        same("Mixup(alpha=1e-3, mode='pair')", &Mixup { alpha: 1e-3, mode: Mode::Pair, ..Mixup::default() });
        let cut = CutMix { minmax: Some((0.25, 1.0)), mode: Mode::Elem, ..CutMix::default() };
        same("CutMix(minmax=(0.25, 1), mode=\"elem\", saliency=None)", &cut);
        same("CutMix(minmax=None)", &CutMix::default());
        same("GridMix(cells=[3, 9])", &GridMix { cells: (3, 9), ..GridMix::default() });
        let inner: Box<dyn Rule> = "OneOf(rules=(Mixup(),), mode=\"elem\")".parse().unwrap();
        let choice = Choice::new(2, Some(vec![0.5, 0.25]), Mode::Batch).unwrap();
        same(
            "OneOf([OneOf([Mixup()], mode='elem'), CutMix(prob=0.5)], probs=(0.5, 0.25))",
            &OneOf { rules: vec![inner, Box::new(CutMix { prob: 0.5, ..CutMix::default() })], choice },
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected, got) in [
            ("", "the name of a rule", ""),
            ("Blur()", "the name of a rule", "Blur()"),
            ("Mixup", "(", ""),
            ("Mixup[alpha=1]", "(", "[alpha=1]"),
            ("Mixup() and", "the end", "and"),
            ("Mixup(soft=1)", "the name of an option", "soft=1)"),
            ("Mixup(0.4)", "the name of an option", "0.4)"),
            ("Mixup(alpha 1)", "=", "1)"),
            ("Mixup(alpha=x)", "a number", "x)"),
            ("Mixup(k=2.5)", "a whole number", "2.5)"),
            ("Mixup(fold=yes)", "False", "yes)"),
            ("Mixup(mode='all')", "\"elem\", \"pair\" or \"batch\"", "'all')"),
            ("Mixup(alpha=1", ")", ""),
            ("CutMix(minmax=(1,))", "two values", "(1,))"),
            ("OneOf([Mixup(), 3])", "the name of a rule", "3])"),
        ] {
            let wrong = MixError::RuleText { expected: expected.into(), got: got.into() };
            assert_eq!(read(text), wrong.to_string(), "{text}");
        }
        assert_eq!(read("Mixup(alpha=-1)"), MixError::Alpha(-1.0).to_string());
        assert_eq!(read("OneOf([])"), MixError::NoRules.to_string());
    }
}
