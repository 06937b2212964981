; The runner: interprets a stream of instructions, arrays of i64 words. runner.py writes streams and tells their layout.
;
; Status of everything here: 0 all is well; above 0 the step that failed; -1 the stop flag was set; -2 a Python
; exception is pending.

; table, run state, thread state while the GIL is released, 1 if this run releases the GIL; then for the clock:
; boundaries until the next look, boundaries between looks, time of the last look, time signals were last asked for.
%Run = type { ptr, ptr, ptr, i64, i64, i64, i64, i64 }

; ----------------------------------------------------------------------------------------------------- regions

; One part of a region: the calls of its chain, one after the other, over [begin, end). 0, or the step that failed.
define internal i64 @run_part(ptr %table, ptr %region, i64 %part) {
entry:
  %triple = mul i64 %part, 3
  %place = add i64 %triple, 5
  %record = getelementptr i64, ptr %region, i64 %place
  %begin.at = getelementptr i64, ptr %record, i64 1
  %end.at = getelementptr i64, ptr %record, i64 2
  %offset = load i64, ptr %record
  %begin = load i64, ptr %begin.at
  %end = load i64, ptr %end.at
  %chain = getelementptr i64, ptr %region, i64 %offset
  %calls = load i64, ptr %chain
  %state = load ptr, ptr %table
  %times.at = getelementptr i64, ptr %state, i64 9
  %times = load ptr, ptr %times.at
  %untimed = icmp eq ptr %times, null
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %fine ]
  %i3 = mul i64 %i, 3
  %here = add i64 %i3, 1
  %call = getelementptr i64, ptr %chain, i64 %here
  %args.at = getelementptr i64, ptr %call, i64 1
  %step.at = getelementptr i64, ptr %call, i64 2
  %function = load ptr, ptr %call
  %args = load ptr, ptr %args.at
  %step = load i64, ptr %step.at
  br i1 %untimed, label %plain, label %timed
plain:
  %plain.status = call i64 %function(ptr %table, ptr %args, i64 %begin, i64 %end)
  br label %after
timed:
  %before = call i64 @now()
  %timed.status = call i64 %function(ptr %table, ptr %args, i64 %begin, i64 %end)
  call void @add_time(ptr %times, i64 %step, i64 %before)
  br label %after
after:
  %status = phi i64 [ %plain.status, %plain ], [ %timed.status, %timed ]
  %wrong = icmp ne i64 %status, 0
  br i1 %wrong, label %failed, label %fine
fine:
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %calls
  br i1 %more, label %next, label %end.of.chain
end.of.chain:
  ret i64 0
failed:
  ret i64 %step
}

; Adds the nanoseconds since %before to those of a step.
define internal void @add_time(ptr %times, i64 %step, i64 %before) {
  %after = call i64 @now()
  %passed = sub i64 %after, %before
  %at = getelementptr i64, ptr %times, i64 %step
  %old = atomicrmw add ptr %at, i64 %passed monotonic
  ret void
}

; A region: shared with the workers if it has work for them and they are free, else part after part.
define internal i64 @run_region(ptr %run, ptr %region) {
entry:
  %table = load ptr, ptr %run
  %parts.at = getelementptr i64, ptr %region, i64 2
  %work.at = getelementptr i64, ptr %region, i64 3
  %parts = load i64, ptr %parts.at
  %work = load i64, ptr %work.at
  %alone = icmp eq i64 %work, 0
  br i1 %alone, label %serial, label %together
together:
  %workers.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 2
  %workers = load atomic ptr, ptr %workers.at monotonic, align 8
  %none = icmp eq ptr %workers, null
  br i1 %none, label %start, label %acquire
start:
  %started = call i64 @start_workers(ptr %run)
  %right = icmp eq i64 %started, 0
  br i1 %right, label %look.again, label %wrong
wrong:
  ret i64 %started
look.again:
  %workers.now = load atomic ptr, ptr %workers.at monotonic, align 8
  %still.none = icmp eq ptr %workers.now, null
  br i1 %still.none, label %serial, label %acquire
acquire:
  %swap = cmpxchg ptr @graphc_pool, i32 0, i32 1 acquire monotonic
  %mine = extractvalue { i32, i1 } %swap, 1
  br i1 %mine, label %share, label %serial
share:
  %step = call i64 @share(ptr %table, ptr %region, i64 %parts)
  store atomic i32 0, ptr @graphc_pool release, align 4
  ret i64 %step
serial:
  br label %next
next:
  %i = phi i64 [ 0, %serial ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %parts
  br i1 %more, label %one, label %end
one:
  %failed = call i64 @run_part(ptr %table, ptr %region, i64 %i)
  %i.next = add i64 %i, 1
  %fine = icmp eq i64 %failed, 0
  br i1 %fine, label %next, label %stop
stop:
  ret i64 %failed
end:
  ret i64 0
}

; Calls the Python function that starts the workers, if there is one.
define internal i64 @start_workers(ptr %run) {
entry:
  %starter.at = getelementptr %Pool, ptr @graphc_pool, i64 0, i32 3
  %starter = load ptr, ptr %starter.at
  %none = icmp eq ptr %starter, null
  br i1 %none, label %end, label %start
start:
  call void @take_gil(ptr %run)
  %call = load ptr, ptr @graphc_call_no_args
  %result = call ptr %call(ptr %starter)
  %raised = icmp eq ptr %result, null
  br i1 %raised, label %error, label %fine
error:
  call void @drop_gil(ptr %run)
  ret i64 -2
fine:
  %decref = load ptr, ptr @graphc_decref
  call void %decref(ptr %result)
  call void @drop_gil(ptr %run)
  br label %end
end:
  ret i64 0
}

; ------------------------------------------------------------------------------------------------- instructions

; Runs instructions up to the end of their body.
define internal i64 @execute(ptr %run, ptr %body) {
entry:
  %table = load ptr, ptr %run
  br label %next
next:
  %here = phi ptr [ %body, %entry ], [ %following, %fine ]
  %size.at = getelementptr i64, ptr %here, i64 1
  %code = load i64, ptr %here
  %size = load i64, ptr %size.at
  switch i64 %code, label %end [
    i64 1, label %region
    i64 2, label %loop
    i64 3, label %branch
    i64 4, label %host
  ]
region:
  %region.status = call i64 @region_step(ptr %run, ptr %here)
  br label %after
loop:
  %loop.status = call i64 @run_loop(ptr %run, ptr %here)
  br label %after
branch:
  %condition.at = getelementptr i64, ptr %here, i64 2
  %condition = call i1 @read_bool(ptr %table, ptr %condition.at)
  %else.at = getelementptr i64, ptr %here, i64 4
  %else = load i64, ptr %else.at
  %chosen = select i1 %condition, i64 5, i64 %else
  %taken = getelementptr i64, ptr %here, i64 %chosen
  %branch.status = call i64 @execute(ptr %run, ptr %taken)
  br label %after
host:
  %host.status = call i64 @run_host(ptr %run, ptr %here)
  br label %after
after:
  %status = phi i64 [ %region.status, %region ], [ %loop.status, %loop ], [ %branch.status, %branch ],
                    [ %host.status, %host ]
  %wrong = icmp ne i64 %status, 0
  br i1 %wrong, label %stop, label %fine
fine:
  %following = getelementptr i64, ptr %here, i64 %size
  br label %next
stop:
  ret i64 %status
end:
  ret i64 0
}

; A region with the boundary before it, and its wall time when times are wanted.
define internal i64 @region_step(ptr %run, ptr %region) {
entry:
  %stop = call i64 @boundary(ptr %run)
  %go = icmp eq i64 %stop, 0
  br i1 %go, label %begin, label %stopped
begin:
  %state.at = getelementptr %Run, ptr %run, i64 0, i32 1
  %state = load ptr, ptr %state.at
  %times.at = getelementptr i64, ptr %state, i64 9
  %times = load ptr, ptr %times.at
  %untimed = icmp eq ptr %times, null
  br i1 %untimed, label %plain, label %timed
plain:
  %status = call i64 @run_region(ptr %run, ptr %region)
  ret i64 %status
timed:
  %step.at = getelementptr i64, ptr %region, i64 4
  %step = load i64, ptr %step.at
  %before = call i64 @now()
  %timed.status = call i64 @run_region(ptr %run, ptr %region)
  call void @add_time(ptr %times, i64 %step, i64 %before)
  ret i64 %timed.status
stopped:
  ret i64 %stop
}

; The byte at (slot, offset), two words, read as a bool.
define internal i1 @read_bool(ptr %table, ptr %words) {
  %offset.at = getelementptr i64, ptr %words, i64 1
  %slot = load i64, ptr %words
  %offset = load i64, ptr %offset.at
  %base.at = getelementptr ptr, ptr %table, i64 %slot
  %base = load ptr, ptr %base.at
  %at = getelementptr i8, ptr %base, i64 %offset
  %byte = load i8, ptr %at
  %bool = icmp ne i8 %byte, 0
  ret i1 %bool
}

; words: 2 count, 3 its slot (-1: the count itself), 4 condition body (0: none), 5-6 its bool, 7 body,
; 8 slots, 9 moves; then four words a slot, three a move, then the bodies.
define internal i64 @run_loop(ptr %run, ptr %loop) {
entry:
  %table = load ptr, ptr %run
  %condition.at = getelementptr i64, ptr %loop, i64 4
  %bool.at = getelementptr i64, ptr %loop, i64 5
  %body.at = getelementptr i64, ptr %loop, i64 7
  %condition.offset = load i64, ptr %condition.at
  %body.offset = load i64, ptr %body.at
  %condition = getelementptr i64, ptr %loop, i64 %condition.offset
  %body = getelementptr i64, ptr %loop, i64 %body.offset
  %endless = icmp eq i64 %condition.offset, 0
  %trips = call i64 @trip_count(ptr %table, ptr %loop)
  call void @place_slots(ptr %table, ptr %loop)
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %done ]
  %more = icmp slt i64 %i, %trips
  br i1 %more, label %look, label %end
look:
  %stop = call i64 @boundary(ptr %run)
  %go = icmp eq i64 %stop, 0
  br i1 %go, label %begin, label %stopped
begin:
  br i1 %endless, label %one, label %test
test:
  %test.status = call i64 @execute(ptr %run, ptr %condition)
  %tested = icmp eq i64 %test.status, 0
  br i1 %tested, label %decide, label %stopped
decide:
  %true = call i1 @read_bool(ptr %table, ptr %bool.at)
  br i1 %true, label %one, label %end
one:
  %status = call i64 @execute(ptr %run, ptr %body)
  %fine = icmp eq i64 %status, 0
  br i1 %fine, label %done, label %stopped
done:
  call void @advance(ptr %table, ptr %loop)
  %i.next = add i64 %i, 1
  br label %next
stopped:
  %why = phi i64 [ %stop, %look ], [ %test.status, %test ], [ %status, %one ]
  ret i64 %why
end:
  ret i64 0
}

define internal i64 @trip_count(ptr %table, ptr %loop) {
entry:
  %count.at = getelementptr i64, ptr %loop, i64 2
  %slot.at = getelementptr i64, ptr %loop, i64 3
  %count = load i64, ptr %count.at
  %slot = load i64, ptr %slot.at
  %constant = icmp slt i64 %slot, 0
  br i1 %constant, label %known, label %read
known:
  ret i64 %count
read:
  %base.at = getelementptr ptr, ptr %table, i64 %slot
  %base = load ptr, ptr %base.at
  %at = getelementptr i8, ptr %base, i64 %count
  %trips = load i64, ptr %at, align 1
  ret i64 %trips
}

; Before the first iteration: table[slot] = table[source] + start, for each slot (slot, source, start, stride).
define internal void @place_slots(ptr %table, ptr %loop) {
entry:
  %slots.at = getelementptr i64, ptr %loop, i64 8
  %slots = load i64, ptr %slots.at
  %records = getelementptr i64, ptr %loop, i64 10
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %slots
  br i1 %more, label %one, label %end
one:
  %i4 = shl i64 %i, 2
  %record = getelementptr i64, ptr %records, i64 %i4
  %source.at = getelementptr i64, ptr %record, i64 1
  %start.at = getelementptr i64, ptr %record, i64 2
  %slot = load i64, ptr %record
  %source = load i64, ptr %source.at
  %start = load i64, ptr %start.at
  %from = getelementptr ptr, ptr %table, i64 %source
  %to = getelementptr ptr, ptr %table, i64 %slot
  %base = load ptr, ptr %from
  %first = getelementptr i8, ptr %base, i64 %start
  store ptr %first, ptr %to
  %i.next = add i64 %i, 1
  br label %next
end:
  ret void
}

; After an iteration: the moves (swap?, to, from) in their order, then the strides.
define internal void @advance(ptr %table, ptr %loop) {
entry:
  %slots.at = getelementptr i64, ptr %loop, i64 8
  %moves.at = getelementptr i64, ptr %loop, i64 9
  %slots = load i64, ptr %slots.at
  %moves = load i64, ptr %moves.at
  %records = getelementptr i64, ptr %loop, i64 10
  %words = shl i64 %slots, 2
  %move.records = getelementptr i64, ptr %records, i64 %words
  br label %next.move
next.move:
  %m = phi i64 [ 0, %entry ], [ %m.next, %moved ]
  %more.moves = icmp ult i64 %m, %moves
  br i1 %more.moves, label %move, label %next.slot
move:
  %m3 = mul i64 %m, 3
  %move.record = getelementptr i64, ptr %move.records, i64 %m3
  %to.at = getelementptr i64, ptr %move.record, i64 1
  %from.at = getelementptr i64, ptr %move.record, i64 2
  %swap = load i64, ptr %move.record
  %to.slot = load i64, ptr %to.at
  %from.slot = load i64, ptr %from.at
  %to = getelementptr ptr, ptr %table, i64 %to.slot
  %from = getelementptr ptr, ptr %table, i64 %from.slot
  %old = load ptr, ptr %to
  %new = load ptr, ptr %from
  store ptr %new, ptr %to
  %is.copy = icmp eq i64 %swap, 0
  br i1 %is.copy, label %moved, label %both
both:
  store ptr %old, ptr %from
  br label %moved
moved:
  %m.next = add i64 %m, 1
  br label %next.move
next.slot:
  %i = phi i64 [ 0, %next.move ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %slots
  br i1 %more, label %one, label %end
one:
  %i4 = shl i64 %i, 2
  %record = getelementptr i64, ptr %records, i64 %i4
  %stride.at = getelementptr i64, ptr %record, i64 3
  %slot = load i64, ptr %record
  %stride = load i64, ptr %stride.at
  %at = getelementptr ptr, ptr %table, i64 %slot
  %base = load ptr, ptr %at
  %advanced = getelementptr i8, ptr %base, i64 %stride
  store ptr %advanced, ptr %at
  %i.next = add i64 %i, 1
  br label %next.slot
end:
  ret void
}

; Calls a Python object with the address of the table; its exception ends the run.
define internal i64 @run_host(ptr %run, ptr %host) {
entry:
  %stop = call i64 @boundary(ptr %run)
  %go = icmp eq i64 %stop, 0
  br i1 %go, label %begin, label %stopped
begin:
  %table = load ptr, ptr %run
  %step.at = getelementptr i64, ptr %host, i64 2
  %object.at = getelementptr i64, ptr %host, i64 3
  %step = load i64, ptr %step.at
  %object = load ptr, ptr %object.at
  %state.at = getelementptr %Run, ptr %run, i64 0, i32 1
  %state = load ptr, ptr %state.at
  %times.at = getelementptr i64, ptr %state, i64 9
  %times = load ptr, ptr %times.at
  %untimed = icmp eq ptr %times, null
  call void @take_gil(ptr %run)
  br i1 %untimed, label %plain, label %timed
plain:
  %plain.result = call ptr @call_with_address(ptr %object, ptr %table)
  br label %called
timed:
  %before = call i64 @now()
  %timed.result = call ptr @call_with_address(ptr %object, ptr %table)
  call void @add_time(ptr %times, i64 %step, i64 %before)
  br label %called
called:
  %result = phi ptr [ %plain.result, %plain ], [ %timed.result, %timed ]
  %raised = icmp eq ptr %result, null
  br i1 %raised, label %error, label %fine
error:
  %failed.at = getelementptr i64, ptr %state, i64 10
  store i64 %step, ptr %failed.at
  call void @drop_gil(ptr %run)
  ret i64 -2
fine:
  %decref = load ptr, ptr @graphc_decref
  call void %decref(ptr %result)
  call void @drop_gil(ptr %run)
  ret i64 0
stopped:
  ret i64 %stop
}

; object(address), null with an exception pending if it raises.
define internal ptr @call_with_address(ptr %object, ptr %address) {
entry:
  %make = load ptr, ptr @graphc_from_pointer
  %number = call ptr %make(ptr %address)
  %failed = icmp eq ptr %number, null
  br i1 %failed, label %error, label %fine
fine:
  %call = load ptr, ptr @graphc_call_one_arg
  %decref = load ptr, ptr @graphc_decref
  %result = call ptr %call(ptr %object, ptr %number)
  call void %decref(ptr %number)
  ret ptr %result
error:
  ret ptr null
}
