//! Small dumps of machines: chosen from real small dumps as sources, and from machines made by hand.

mod builder;
mod double;
mod made;
mod real;
mod whole;
