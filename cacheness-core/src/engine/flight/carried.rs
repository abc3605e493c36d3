use super::context::innermost;

/// Work for another thread that stays inside the body running here: what it calls does not wait for that body.
pub(crate) fn carried<R>(work: impl FnOnce() -> R + Send) -> impl FnOnce() -> R + Send {
    let leg = innermost().ok().flatten();
    move || match leg {
        Some(leg) => leg.fly(work),
        None => work(),
    }
}
