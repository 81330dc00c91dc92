//! Bugs planted on purpose, for the simulator to find. Tests only, on the thread that plants them.

use std::cell::Cell;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Answers leave before what they promise is flushed.
    AnswerBeforeFlush,
    /// A delivery that is tried again leaves its old queue row behind.
    ForgetQueueRow,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug on this thread, or takes it away.
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
pub(super) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
