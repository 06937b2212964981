; The thread pool: workers that claim the parts of a region.
;
; A region is an array of words (runner.py tells its layout); its parts are independent of each other. The caller
; publishes it, does parts itself, and at the end waits only for parts that a worker has begun: it never waits for a
; sleeper. What a part covers is written in the region, so that results do not depend on who ran what.
;
; Everything another thread spins on has two cache lines (128 bytes) of its own.

; word, region, table, step of the first part that failed (0: none). The word holds
; generation << 40 | parts << 20 | next part, so one compare-and-swap claims a part of exactly this region.
; The other fields are read only after a claim: until that part is finished they do not change.
%Job = type { i64, ptr, ptr, i64, [96 x i8] }

; Parts finished by workers, and the number the caller waits for once it has gone to sleep.
%Count = type { i64, i64, [112 x i8] }

; Where one thread sleeps: parked (1 asleep or about to be), quit, lock (null: sleep on a futex), spins before sleep.
%Seat = type { i32, i32, ptr, i64, [104 x i8] }

; The workers of one size of the pool. Never freed: a thread may still look at it after the pool was resized.
%Workers = type { i64, [120 x i8], [0 x %Seat] }

; busy (a caller is using the workers), workers parked, the workers (null: none), the Python callable that starts
; them (null: never start any), nanoseconds of work done while workers slept who could have helped.
%Pool = type { i32, i32, ptr, ptr, i64, [96 x i8] }

@job = internal global %Job zeroinitializer, align 128
@finished = internal global %Count zeroinitializer, align 128
@graphc_caller = global %Seat zeroinitializer, align 128
@graphc_pool = global %Pool zeroinitializer, align 128

; Addresses of outside functions and numbers of this system, filled in after loading (runtime.py).
@graphc_syscall = global ptr null
@graphc_futex = global i64 0
@graphc_acquire_lock = global ptr null
@graphc_release_lock = global ptr null

; ------------------------------------------------------------------------------------------------ sleep and wake

; Sleeps until parked is 0. Whoever changes parked from 1 to 0 releases the lock, or wakes the futex, exactly once.
define internal void @sleep(ptr %seat) {
entry:
  %lock.at = getelementptr %Seat, ptr %seat, i64 0, i32 2
  %lock = load ptr, ptr %lock.at
  %is.futex = icmp eq ptr %lock, null
  br i1 %is.futex, label %check, label %on.lock
on.lock:
  %acquire = load ptr, ptr @graphc_acquire_lock
  %ignored = call i32 %acquire(ptr %lock, i32 1)
  ret void
check:
  %parked = load atomic i32, ptr %seat acquire, align 4
  %asleep = icmp eq i32 %parked, 1
  br i1 %asleep, label %wait, label %awake
wait:
  %syscall = load ptr, ptr @graphc_syscall
  %futex = load i64, ptr @graphc_futex
  ; FUTEX_WAIT | FUTEX_PRIVATE_FLAG while parked is 1, no time limit
  %result = call i64 (i64, ...) %syscall(i64 %futex, ptr %seat, i64 128, i64 1, ptr null, ptr null, i64 0)
  br label %check
awake:
  ret void
}

; Takes back the wish to sleep, or wakes the sleeper; false if somebody else did.
define internal i1 @unpark(ptr %seat) {
  %swap = cmpxchg ptr %seat, i32 1, i32 0 seq_cst seq_cst
  %was.parked = extractvalue { i32, i1 } %swap, 1
  ret i1 %was.parked
}

define internal i1 @wake(ptr %seat) {
entry:
  %was.parked = call i1 @unpark(ptr %seat)
  br i1 %was.parked, label %rouse, label %no
rouse:
  %lock.at = getelementptr %Seat, ptr %seat, i64 0, i32 2
  %lock = load ptr, ptr %lock.at
  %is.futex = icmp eq ptr %lock, null
  br i1 %is.futex, label %on.futex, label %on.lock
on.lock:
  %release = load ptr, ptr @graphc_release_lock
  call void %release(ptr %lock)
  ret i1 true
on.futex:
  %syscall = load ptr, ptr @graphc_syscall
  %futex = load i64, ptr @graphc_futex
  ; FUTEX_WAKE | FUTEX_PRIVATE_FLAG, one thread
  %result = call i64 (i64, ...) %syscall(i64 %futex, ptr %seat, i64 129, i64 1, ptr null, ptr null, i64 0)
  ret i1 true
no:
  ret i1 false
}

; Wakes up to %most parked workers. A woken worker wakes two more: the caller pays for two, not for all.
define internal void @wake_workers(i64 %most) {
entry:
  %workers.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 2
  %workers = load atomic ptr, ptr %workers.at acquire, align 8
  %none = icmp eq ptr %workers, null
  br i1 %none, label %end, label %begin
begin:
  %n = load i64, ptr %workers
  br label %next
next:
  %i = phi i64 [ 0, %begin ], [ %i.next, %after ]
  %left = phi i64 [ %most, %begin ], [ %left.next, %after ]
  %more.seats = icmp ult i64 %i, %n
  %more.wanted = icmp sgt i64 %left, 0
  %more = and i1 %more.seats, %more.wanted
  br i1 %more, label %look, label %end
look:
  %seat = getelementptr %Workers, ptr %workers, i64 0, i32 2, i64 %i
  %parked = load atomic i32, ptr %seat monotonic, align 4
  %asleep = icmp eq i32 %parked, 1
  br i1 %asleep, label %try, label %after
try:
  %woken = call i1 @wake(ptr %seat)
  br i1 %woken, label %count, label %after
count:
  call void @one_parked_less()
  %less = sub i64 %left, 1
  br label %after
after:
  %left.next = phi i64 [ %left, %look ], [ %left, %try ], [ %less, %count ]
  %i.next = add i64 %i, 1
  br label %next
end:
  ret void
}

define internal void @one_parked_less() {
  %parked.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 1
  %before = atomicrmw sub ptr %parked.at, i32 1 seq_cst
  ret void
}

; ------------------------------------------------------------------------------------------------------- parts

define internal i1 @has_part(i64 %word) {
  %next = and i64 %word, 1048575
  %high = lshr i64 %word, 20
  %parts = and i64 %high, 1048575
  %open = icmp ult i64 %next, %parts
  ret i1 %open
}

; Claims the next part of the region that is out: its number, or -1 if there is none.
define internal i64 @claim() {
entry:
  br label %again
again:
  %word = load atomic i64, ptr @job acquire, align 8
  %open = call i1 @has_part(i64 %word)
  br i1 %open, label %try, label %none
try:
  %claimed.word = add i64 %word, 1
  %swap = cmpxchg ptr @job, i64 %word, i64 %claimed.word seq_cst seq_cst
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %got, label %again
got:
  %part = and i64 %word, 1048575
  ret i64 %part
none:
  ret i64 -1
}

; Does a claimed part, unless another one has failed already.
define internal void @do_claimed(i64 %part) {
entry:
  %failed.at = getelementptr %Job, ptr @job, i64 0, i32 3
  %failed = load atomic i64, ptr %failed.at monotonic, align 8
  %go = icmp eq i64 %failed, 0
  br i1 %go, label %work, label %end
work:
  %region.at = getelementptr %Job, ptr @job, i64 0, i32 1
  %table.at = getelementptr %Job, ptr @job, i64 0, i32 2
  %region = load ptr, ptr %region.at
  %table = load ptr, ptr %table.at
  %step = call i64 @run_part(ptr %table, ptr %region, i64 %part)
  %wrong = icmp ne i64 %step, 0
  br i1 %wrong, label %note, label %end
note:
  %swap = cmpxchg ptr %failed.at, i64 0, i64 %step seq_cst seq_cst
  br label %end
end:
  ret void
}

; A worker has finished a part: counts it, and wakes the caller if it sleeps and this was the last.
define internal void @finish_part() {
entry:
  %before = atomicrmw add ptr @finished, i64 1 seq_cst
  %parked = load atomic i32, ptr @graphc_caller seq_cst, align 4
  %asleep = icmp eq i32 %parked, 1
  br i1 %asleep, label %last, label %end
last:
  %now = add i64 %before, 1
  %target.at = getelementptr %Count, ptr @finished, i64 0, i32 1
  %target = load atomic i64, ptr %target.at monotonic, align 8
  %all = icmp sge i64 %now, %target
  br i1 %all, label %rouse, label %end
rouse:
  %ignored = call i1 @wake(ptr @graphc_caller)
  br label %end
end:
  ret void
}

; ------------------------------------------------------------------------------------------------------ workers

; A worker's life: claim and do parts, spin a while when there are none, then sleep. Returns once told to quit.
define void @graphc_worker(ptr %seat) {
entry:
  %quit.at = getelementptr %Seat, ptr %seat, i64 0, i32 1
  %spins.at = getelementptr %Seat, ptr %seat, i64 0, i32 3
  %parked.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 1
  %spins = load i64, ptr %spins.at
  br label %look
look:
  %left = phi i64 [ %spins, %entry ], [ %spins, %work ], [ %left.next, %spin ], [ %spins, %awake ]
  %part = call i64 @claim()
  %got = icmp sge i64 %part, 0
  br i1 %got, label %work, label %idle
work:
  call void @do_claimed(i64 %part)
  call void @finish_part()
  br label %look
idle:
  %quit = load atomic i32, ptr %quit.at monotonic, align 4
  %stay = icmp eq i32 %quit, 0
  br i1 %stay, label %wait, label %leave
wait:
  %patient = icmp sgt i64 %left, 0
  br i1 %patient, label %spin, label %park
spin:
  call void @relax()
  %left.next = sub i64 %left, 1
  br label %look
park:
  %count = atomicrmw add ptr %parked.at, i32 1 seq_cst
  store atomic i32 1, ptr %seat seq_cst, align 4
  ; Only now is whoever publishes, or says quit, sure to see this seat: look once more.
  %word = load atomic i64, ptr @job seq_cst, align 8
  %open = call i1 @has_part(i64 %word)
  %quit.again = load atomic i32, ptr %quit.at seq_cst, align 4
  %leaving = icmp ne i32 %quit.again, 0
  %rise = or i1 %open, %leaving
  br i1 %rise, label %take.back, label %sleep
take.back:
  %mine = call i1 @unpark(ptr %seat)
  br i1 %mine, label %risen, label %sleep
risen:
  call void @one_parked_less()
  br label %awake
sleep:
  call void @sleep(ptr %seat)
  %word.now = load atomic i64, ptr @job acquire, align 8
  %more = call i1 @has_part(i64 %word.now)
  br i1 %more, label %pass.on, label %awake
pass.on:
  call void @wake_workers(i64 2)
  br label %awake
awake:
  br label %look
leave:
  ret void
}

; Tells workers to quit; those that work finish their part first.
define void @graphc_dismiss(ptr %workers) {
entry:
  %n = load i64, ptr %workers
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %after ]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %one, label %end
one:
  %seat = getelementptr %Workers, ptr %workers, i64 0, i32 2, i64 %i
  %quit.at = getelementptr %Seat, ptr %seat, i64 0, i32 1
  store atomic i32 1, ptr %quit.at seq_cst, align 4
  %woken = call i1 @wake(ptr %seat)
  br i1 %woken, label %count, label %after
count:
  call void @one_parked_less()
  br label %after
after:
  %i.next = add i64 %i, 1
  br label %next
end:
  ret void
}

; Exchanges the workers (null: none) while no region is out: 1, or 0 if one is (try again).
define i32 @graphc_install(ptr %workers) {
entry:
  %swap = cmpxchg ptr @graphc_pool, i32 0, i32 1 seq_cst seq_cst
  %free = extractvalue { i32, i1 } %swap, 1
  br i1 %free, label %set, label %busy
set:
  %workers.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 2
  store atomic ptr %workers, ptr %workers.at seq_cst, align 8
  store atomic i32 0, ptr @graphc_pool release, align 4
  ret i32 1
busy:
  ret i32 0
}

; In a forked child: no workers, nobody busy, nobody asleep, whatever the parent's threads were doing.
define void @graphc_forget() {
  call void @llvm.memset.p0.i64(ptr @job, i8 0, i64 128, i1 false)
  call void @llvm.memset.p0.i64(ptr @finished, i8 0, i64 128, i1 false)
  %caller.parked = getelementptr %Seat, ptr @graphc_caller, i64 0, i32 0
  store i32 0, ptr %caller.parked
  store i64 0, ptr @graphc_pool
  %workers.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 2
  store ptr null, ptr %workers.at
  ret void
}

; Pauses %n times: lets Python find out how long a pause is.
define void @graphc_pause(i64 %n) {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %one, label %end
one:
  call void @relax()
  %i.next = add i64 %i, 1
  br label %next
end:
  ret void
}

; ------------------------------------------------------------------------------------------------------ callers

; Runs a region together with the workers; the caller has the busy flag. 0, or the step that failed.
define internal i64 @share(ptr %table, ptr %region, i64 %parts) {
entry:
  %region.at = getelementptr %Job, ptr @job, i64 0, i32 1
  %table.at = getelementptr %Job, ptr @job, i64 0, i32 2
  %failed.at = getelementptr %Job, ptr @job, i64 0, i32 3
  store ptr %region, ptr %region.at
  store ptr %table, ptr %table.at
  store atomic i64 0, ptr %failed.at monotonic, align 8
  store atomic i64 0, ptr @finished monotonic, align 8
  ; The new word comes with part 0 claimed: the caller's.
  %old = load atomic i64, ptr @job monotonic, align 8
  %old.generation = lshr i64 %old, 40
  %generation = add i64 %old.generation, 1
  %high = shl i64 %generation, 40
  %middle = shl i64 %parts, 20
  %both = or i64 %high, %middle
  %word = or i64 %both, 1
  %replaced = atomicrmw xchg ptr @job, i64 %word seq_cst
  %parked.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 1
  %parked = load atomic i32, ptr %parked.at seq_cst, align 4
  %asleep = icmp ne i32 %parked, 0
  br i1 %asleep, label %rouse, label %first
rouse:
  call void @rouse(ptr %region, i64 %parts, i32 %parked)
  br label %first
first:
  call void @do_claimed(i64 0)
  br label %next
next:
  %own = phi i64 [ 1, %first ], [ %own.next, %another ]
  %part = call i64 @claim()
  %got = icmp sge i64 %part, 0
  br i1 %got, label %another, label %wait
another:
  call void @do_claimed(i64 %part)
  %own.next = add i64 %own, 1
  br label %next
wait:
  %target = sub i64 %parts, %own
  call void @wait_for(i64 %target)
  %failed = load atomic i64, ptr %failed.at monotonic, align 8
  ret i64 %failed
}

; Wakes workers if this region has parts for more than are awake, and if it pays: a wake-up costs the caller about 10 us,
; so it waits until 100 us of work were done without them. Calls far apart lose a tenth at most, a loop of short ones
; soon has its workers, which then stay awake.
define internal void @rouse(ptr %region, i64 %parts, i32 %parked) {
entry:
  %workers.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 2
  %alone.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 4
  %work.at = getelementptr i64, ptr %region, i64 3
  %workers = load atomic ptr, ptr %workers.at monotonic, align 8
  ; Between the caller's first look and its busy flag they may have been sent away, and still count as parked.
  %gone = icmp eq ptr %workers, null
  br i1 %gone, label %end, label %compare
compare:
  %n = load i64, ptr %workers
  %parked.wide = zext i32 %parked to i64
  %awake = sub i64 %n, %parked.wide
  %others = sub i64 %parts, 1
  %missing = sub i64 %others, %awake
  %short = icmp sgt i64 %missing, 0
  br i1 %short, label %weigh, label %end
weigh:
  %work = load i64, ptr %work.at
  %alone = load i64, ptr %alone.at
  %sum = add i64 %alone, %work
  %pays = icmp sge i64 %sum, 100000
  %left = select i1 %pays, i64 0, i64 %sum
  store i64 %left, ptr %alone.at
  br i1 %pays, label %wake, label %end
wake:
  %few = icmp ult i64 %missing, 2
  %most = select i1 %few, i64 %missing, i64 2
  call void @wake_workers(i64 %most)
  br label %end
end:
  ret void
}

; Waits until the workers have finished %target parts: spins, then sleeps.
define internal void @wait_for(i64 %target) {
entry:
  %spins.at = getelementptr %Seat, ptr @graphc_caller, i64 0, i32 3
  %target.at = getelementptr %Count, ptr @finished, i64 0, i32 1
  %spins = load i64, ptr %spins.at
  br label %look
look:
  %left = phi i64 [ %spins, %entry ], [ %left.next, %spin ], [ %spins, %awake ]
  %count = load atomic i64, ptr @finished acquire, align 8
  %done = icmp eq i64 %count, %target
  br i1 %done, label %end, label %not.yet
not.yet:
  %patient = icmp sgt i64 %left, 0
  br i1 %patient, label %spin, label %park
spin:
  call void @relax()
  %left.next = sub i64 %left, 1
  br label %look
park:
  store atomic i64 %target, ptr %target.at monotonic, align 8
  store atomic i32 1, ptr @graphc_caller seq_cst, align 4
  %count.again = load atomic i64, ptr @finished seq_cst, align 8
  %done.now = icmp eq i64 %count.again, %target
  br i1 %done.now, label %take.back, label %sleep
take.back:
  %mine = call i1 @unpark(ptr @graphc_caller)
  br i1 %mine, label %awake, label %sleep
sleep:
  call void @sleep(ptr @graphc_caller)
  br label %awake
awake:
  br label %look
end:
  ret void
}

declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
