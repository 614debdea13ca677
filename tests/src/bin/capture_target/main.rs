//! A program to be captured that tells what it is: its threads with their registers, stacks and names, its memory, its
//! modules and its open files, as one line of JSON on standard output when all is ready. Then it obeys the words on
//! standard input, and ends with it.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod files;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod memory;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod modules;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod registers;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod run;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod threads;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    run::main();
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    eprintln!("it sets registers of x86-64 and asks Linux for what it tells");
    std::process::exit(2);
}
