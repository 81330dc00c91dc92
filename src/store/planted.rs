//! Bugs planted on purpose, for the simulator to find. Tests only, on the thread that plants them.

use std::cell::{Cell, RefCell};

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Answers leave before what they promise is flushed.
    AnswerBeforeFlush,
    /// A delivery that is tried again leaves its old queue row behind.
    ForgetQueueRow,
}

/// Runs once, in the middle of a commit.
type Hook = Box<dyn FnOnce()>;

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    static BEFORE_FLUSH: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Plants a bug on this thread, or takes it away.
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
pub(super) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Has `hook` run once, after the next group of this thread is written and before it is flushed.
/// `None` takes it away; the answer says whether there was one that had not run.
pub(crate) fn interrupt(hook: Option<Hook>) -> bool {
    BEFORE_FLUSH.replace(hook).is_some()
}

/// Runs the hook, if there is one.
pub(super) fn before_flush() {
    if let Some(hook) = BEFORE_FLUSH.take() {
        hook();
    }
}
