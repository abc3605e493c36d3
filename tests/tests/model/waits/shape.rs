//! Random shapes.

/// Keys of a shape. Few, so that calls meet.
pub(super) const KEYS: u8 = 4;

/// What the bodies of a shape do, and who calls them.
#[derive(Debug)]
pub(super) struct Shape {
    /// By key. Called with less fuel each time.
    pub(super) bodies: Vec<Body>,
    pub(super) roots: Vec<Root>,
}

#[derive(Debug)]
pub(super) struct Body {
    /// Where a thread runs it.
    pub(super) sync: Vec<Sync>,
    /// Where a task does.
    pub(super) tasks: Vec<Task>,
}

/// Who makes a call: all at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Root {
    Thread(u8),
    Pool(u8),
    OneThread(u8, u8),
    TwoThreads(u8, u8),
    Local(u8, u8),
}

/// A step of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sync {
    Work,
    Call(u8),
    /// `std::thread::scope`.
    Scope(u8, u8),
    /// `rayon::join`.
    Join(u8, u8),
    /// A future, polled to its end on this thread.
    BlockOn(u8),
}

/// A step of a task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    Yield,
    Sleep,
    Await(u8),
    /// `join!`.
    Join(u8, u8),
    Unordered(u8, u8),
    JoinSet(u8, u8),
    /// `select!` over a call that is kept, then a call in the other arm, then the kept one.
    Select(u8, u8),
    /// The same, and the kept one is dropped.
    Timeout(u8, u8),
    Blocking(u8),
    /// A call of a thread, in a task.
    Sync(u8),
}

/// A small generator, so that a seed means the same shape for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }

    fn key(&mut self) -> u8 {
        self.below(u64::from(KEYS)) as u8
    }

    fn sync(&mut self) -> Sync {
        match self.below(7) {
            0 => Sync::Work,
            1 | 2 => Sync::Call(self.key()),
            3 | 4 => Sync::Scope(self.key(), self.key()),
            5 => Sync::Join(self.key(), self.key()),
            _ => Sync::BlockOn(self.key()),
        }
    }

    fn task(&mut self) -> Task {
        match self.below(12) {
            0 => Task::Yield,
            1 => Task::Sleep,
            2 | 3 => Task::Await(self.key()),
            4 => Task::Join(self.key(), self.key()),
            5 => Task::Unordered(self.key(), self.key()),
            6 => Task::JoinSet(self.key(), self.key()),
            7 | 8 => Task::Select(self.key(), self.key()),
            9 => Task::Timeout(self.key(), self.key()),
            10 => Task::Blocking(self.key()),
            _ => Task::Sync(self.key()),
        }
    }

    fn root(&mut self) -> Root {
        match self.below(5) {
            0 => Root::Thread(self.key()),
            1 => Root::Pool(self.key()),
            2 => Root::OneThread(self.key(), self.key()),
            3 => Root::TwoThreads(self.key(), self.key()),
            _ => Root::Local(self.key(), self.key()),
        }
    }
}

impl Shape {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        let bodies = (0..KEYS)
            .map(|_| {
                let (threads, tasks) = (1 + random.below(2), 1 + random.below(2));
                let sync = (0..threads).map(|_| random.sync()).collect();
                Body { sync, tasks: (0..tasks).map(|_| random.task()).collect() }
            })
            .collect();
        let roots = (0..2 + random.below(3)).map(|_| random.root()).collect();
        Self { bodies, roots }
    }
}
