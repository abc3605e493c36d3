//! Runs a shape, with the cache or without.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use cacheness::{AsyncCache, Cache};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, LocalSet};

use super::shape::{Root, Shape, Sync, Task};

/// How deep calls nest.
const FUEL: u8 = 3;

/// A pool of two threads, which wait in shapes as long as the shapes last.
static POOL: LazyLock<ThreadPool> = LazyLock::new(|| ThreadPoolBuilder::new().num_threads(2).build().unwrap());

/// What a call may use. What waits inside of a pool must not need it: it would hang without the cache, too.
#[derive(Clone, Copy)]
struct May {
    fuel: u8,
    pool: bool,
    /// The runtime's timer, tasks and blocking threads: not where a thread that drives it is blocked.
    runtime: bool,
}

impl May {
    fn deeper(self) -> Option<Self> {
        Some(Self { fuel: self.fuel.checked_sub(1)?, ..self })
    }
}

/// A shape and the cache that its calls use.
#[derive(Clone)]
pub(super) struct World {
    shape: Arc<Shape>,
    cache: Option<Cache>,
}

type Called = Pin<Box<dyn Future<Output = ()> + Send>>;

impl World {
    pub(super) fn new(shape: Arc<Shape>, cache: Option<Cache>) -> Self {
        Self { shape, cache }
    }

    pub(super) fn run(&self) {
        thread::scope(|threads| {
            for &root in &self.shape.roots {
                threads.spawn(move || self.root(root));
            }
        });
    }

    fn root(&self, root: Root) {
        let may = May { fuel: FUEL, pool: true, runtime: true };
        match root {
            Root::Thread(key) => self.call(key, May { runtime: false, ..may }),
            Root::Pool(key) => POOL.install(|| self.call(key, May { pool: false, runtime: false, ..may })),
            Root::OneThread(one, other) => self.drive(&runtime(Builder::new_current_thread()), one, other, may),
            Root::TwoThreads(one, other) => {
                self.drive(&runtime(Builder::new_multi_thread().worker_threads(2)), one, other, may);
            }
            Root::Local(one, other) => {
                let tasks = [one, other].map(|key| self.call_async(key, may));
                runtime(Builder::new_current_thread()).block_on(LocalSet::new().run_until(async {
                    for task in tasks.map(tokio::task::spawn_local) {
                        task.await.unwrap();
                    }
                }));
            }
        }
    }

    fn drive(&self, runtime: &Runtime, one: u8, other: u8, may: May) {
        let tasks = [one, other].map(|key| runtime.spawn(self.call_async(key, may)));
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
    }

    fn call(&self, key: u8, may: May) {
        let Some(may) = may.deeper() else { return };
        let body = || {
            self.shape.bodies[usize::from(key)].sync.iter().for_each(|step| self.step(*step, may));
            key
        };
        let made = match &self.cache {
            Some(cache) => cache.get_or_insert_with(key, body).unwrap(),
            None => body(),
        };
        assert_eq!(made, key);
    }

    fn step(&self, step: Sync, may: May) {
        match step {
            Sync::Work => thread::sleep(Duration::from_micros(50)),
            Sync::Call(key) => self.call(key, may),
            Sync::Scope(one, other) => {
                // The thread that waits for them may be one of the pool.
                thread::scope(|threads| {
                    threads.spawn(|| self.call(one, may));
                    threads.spawn(|| self.call(other, may));
                });
            }
            Sync::Join(one, other) => {
                let joined = May { pool: false, ..may };
                let join = || rayon::join(|| self.call(one, joined), || self.call(other, joined));
                match may.pool || rayon::current_thread_index().is_some() {
                    true => drop(POOL.install(join)),
                    false => self.call(one, may),
                }
            }
            Sync::BlockOn(key) => block_on(self.call_async(key, May { runtime: false, ..may })),
        }
    }

    fn call_async(&self, key: u8, may: May) -> Called {
        let Some(may) = may.deeper() else { return Box::pin(std::future::ready(())) };
        let world = self.clone();
        Box::pin(async move {
            let body = || async {
                for &step in &world.shape.bodies[usize::from(key)].tasks {
                    world.step_async(step, may).await;
                }
                key
            };
            let made = match &world.cache {
                Some(cache) => {
                    let cache = AsyncCache::from(cache.clone());
                    cache.get_or_insert_with(key, body).await.unwrap()
                }
                None => body().await,
            };
            assert_eq!(made, key);
        })
    }

    async fn step_async(&self, step: Task, may: May) {
        let call = |key| self.call_async(key, may);
        match step {
            Task::Yield => pause(May { runtime: false, ..may }).await,
            Task::Sleep => pause(may).await,
            Task::Await(key) => call(key).await,
            Task::Join(one, other) => drop(tokio::join!(call(one), call(other))),
            Task::Unordered(one, other) => {
                FuturesUnordered::from_iter([call(one), call(other)]).for_each(std::future::ready).await;
            }
            Task::JoinSet(one, other) if may.runtime => {
                JoinSet::from_iter([call(one), call(other)]).join_all().await;
            }
            Task::JoinSet(one, other) | Task::Select(one, other) => {
                let mut kept = call(one);
                tokio::select! {
                    biased;
                    () = &mut kept => {}
                    () = pause(may) => {
                        call(other).await;
                        kept.await;
                    }
                }
            }
            Task::Timeout(one, other) => {
                tokio::select! {
                    biased;
                    () = call(one) => {}
                    () = pause(may) => {}
                }
                call(other).await;
            }
            Task::Blocking(key) if may.runtime => {
                let (world, inside) = (self.clone(), May { runtime: false, ..may });
                tokio::task::spawn_blocking(move || world.call(key, inside)).await.unwrap();
            }
            Task::Blocking(key) | Task::Sync(key) => self.call(key, May { runtime: false, ..may }),
        }
    }
}

/// Lets time pass, or at least others.
async fn pause(may: May) {
    match may.runtime {
        true => tokio::time::sleep(Duration::from_micros(50)).await,
        // Not tokio's, which wakes nobody before its worker comes around again: here that may be blocked.
        false => {
            let mut yielded = false;
            std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }
}

fn runtime(builder: impl std::borrow::BorrowMut<Builder>) -> Runtime {
    let mut builder = builder;
    builder.borrow_mut().max_blocking_threads(2).enable_time().build().unwrap()
}

/// Polls a future to its end on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = std::task::Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
