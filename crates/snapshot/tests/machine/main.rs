//! What machines know of themselves: against images whose maker wrote down where it put everything, against real dumps,
//! and in memories made by hand.

mod corpus;
mod hand_made;
mod nt;
