//! Element types at run time.

use numpy::PyArrayDescr;
use numpy::prelude::*;
use pyo3::prelude::*;

use crate::arithmetic::Element;
use crate::arithmetic::element::with_elements;

/// A computation that is generic over the element type.
pub(super) trait Visitor {
    type Output;
    fn visit<T: Element>(self) -> Self::Output;
}

macro_rules! dtype {
    ($($variant:ident: $element:ty = $name:literal,)*) => {
        /// The element type of an array.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(super) enum Dtype {
            $($variant,)*
        }

        impl Dtype {
            const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in NumPy.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            const fn itemsize(self) -> usize {
                match self {
                    $(Self::$variant => size_of::<$element>(),)*
                }
            }

            /// Calls the visitor for this element type.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$variant => visitor.visit::<$element>(),)*
                }
            }
        }
    };
}
with_elements!(dtype);

impl Dtype {
    /// The element type of a dtype in native byte order; `None` if it cannot be blended.
    pub fn of(descr: &Bound<'_, PyArrayDescr>) -> Option<Self> {
        if descr.is_native_byteorder() == Some(false) {
            return None;
        }
        let (kind, itemsize) = (descr.kind(), descr.itemsize());
        let is_it = |dtype: &&Self| {
            dtype.itemsize() == itemsize
                && match dtype.name().as_bytes() {
                    // NumPy has bfloat16 only from the package ml_dtypes, which registers it without a standard kind.
                    b"bfloat16" if kind == b'u' || kind == b'i' => false,
                    b"bfloat16" => descr.typeobj().name().is_ok_and(|name| name == "bfloat16"),
                    name => name[0] == kind,
                }
        };
        Self::ALL.iter().find(is_it).copied()
    }

    /// All names as text: "float64, float32, ... or int16".
    pub fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|dtype| dtype.name()).collect();
        let (last, others) = names.split_last().expect("there are element types");
        format!("{} or {last}", others.join(", "))
    }

    /// All names, for `_core.DTYPES`.
    pub fn all_names() -> Vec<&'static str> {
        Self::ALL.iter().map(|dtype| dtype.name()).collect()
    }
}
