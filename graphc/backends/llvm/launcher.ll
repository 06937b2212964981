; Launchers: a program, its table and its arena behind one function that takes NumPy arrays.
;
; The record of a launcher, words: 0 code, 1 slots of the table, 2 the template of the table, 3 version of the template,
; 4 a Python object that keeps everything alive, 5 whether runs release the GIL, 6 times, 7 bytes of a block,
; 8 where the arena begins in a block, 9 the slot of the arena (0: none), 10 number of arguments, 11... the slot of each.
;
; A block is what one run needs for itself, words: 0 the address to free, 1 version of the template it has copied,
; 2-17 run state, 18 its bytes, 32... the table, then the arena. One block is kept between runs, for all launchers: programs
; take turns mostly, and the largest one's memory does for all. Runs at the same time make more; when a launcher goes, so
; does what is kept. All but the run itself happens with the GIL held.

@idle = internal global ptr null

; Bytes from the beginning of an array object to its data pointer, found out at loading.
@graphc_data_offset = global i64 0

@graphc_incref = global ptr null
@graphc_allocate = global ptr null
@graphc_free = global ptr null
@graphc_no_memory = global ptr null
@graphc_bad_argument = global ptr null
@graphc_madvise = global ptr null
@graphc_from_bytes = global ptr null
@graphc_capsule_pointer = global ptr null

@name.launch = internal constant [7 x i8] c"launch\00"
@graphc_method_launch = global %Method { ptr @name.launch, ptr @launch, i32 128, ptr null }

define internal ptr @launch(ptr %self, ptr %args, i64 %n) {
entry:
  %capsule.pointer = load ptr, ptr @graphc_capsule_pointer
  %record = call ptr %capsule.pointer(ptr %self, ptr null)
  %count.at = getelementptr i64, ptr %record, i64 10
  %count = load i64, ptr %count.at
  %right = icmp eq i64 %n, %count
  br i1 %right, label %begin, label %wrong
wrong:
  %bad = load ptr, ptr @graphc_bad_argument
  %zero = call i32 %bad()
  ret ptr null
begin:
  %block = call ptr @take_block(ptr %record)
  %none = icmp eq ptr %block, null
  br i1 %none, label %no.memory, label %work
no.memory:
  %raise = load ptr, ptr @graphc_no_memory
  %null = call ptr %raise()
  ret ptr null
work:
  ; The template and what it points to may be replaced while this runs without the GIL.
  %keeper.at = getelementptr i64, ptr %record, i64 4
  %keeper = load ptr, ptr %keeper.at
  %incref = load ptr, ptr @graphc_incref
  call void %incref(ptr %keeper)
  call void @fill_table(ptr %record, ptr %block, ptr %args)
  %releases.at = getelementptr i64, ptr %record, i64 5
  %state = getelementptr i64, ptr %block, i64 2
  %table = getelementptr i64, ptr %block, i64 32
  %code = load ptr, ptr %record
  %releases = load i64, ptr %releases.at
  %status = call i64 @start(ptr %table, ptr %code, i64 %releases)
  %result = call ptr @result_of(i64 %status, ptr %state)
  call void @put_block(ptr %block)
  %decref = load ptr, ptr @graphc_decref
  call void %decref(ptr %keeper)
  ret ptr %result
}

; A block for this run: the idle one or a new one, null if there is no memory.
define internal ptr @take_block(ptr %record) {
entry:
  %bytes.at = getelementptr i64, ptr %record, i64 7
  %bytes = load i64, ptr %bytes.at
  %idle = atomicrmw xchg ptr @idle, ptr null acquire
  %none = icmp eq ptr %idle, null
  br i1 %none, label %make, label %have
have:
  %room.at = getelementptr i64, ptr %idle, i64 18
  %room = load i64, ptr %room.at
  %enough = icmp uge i64 %room, %bytes
  br i1 %enough, label %take, label %drop
take:
  ret ptr %idle
drop:
  call void @free_block(ptr %idle)
  br label %make
make:
  %more = add i64 %bytes, 128
  %allocate = load ptr, ptr @graphc_allocate
  %raw = call ptr %allocate(i64 %more)
  %failed = icmp eq ptr %raw, null
  br i1 %failed, label %no, label %prepare
no:
  ret ptr null
prepare:
  %raw.address = ptrtoint ptr %raw to i64
  %past = add i64 %raw.address, 127
  %aligned = and i64 %past, -128
  %block = inttoptr i64 %aligned to ptr
  call void @ask_for_large_pages(i64 %aligned, i64 %bytes)
  call void @llvm.memset.p0.i64(ptr %block, i8 0, i64 256, i1 false)
  store ptr %raw, ptr %block
  %size.at = getelementptr i64, ptr %block, i64 18
  store i64 %bytes, ptr %size.at
  ret ptr %block
}

; Large pages for a block of 4 MB or more, as NumPy does for its arrays: fewer page faults and TLB misses.
define internal void @ask_for_large_pages(i64 %address, i64 %bytes) {
entry:
  %advise = load ptr, ptr @graphc_madvise
  %known = icmp ne ptr %advise, null
  %large = icmp uge i64 %bytes, 4194304
  %ask = and i1 %known, %large
  br i1 %ask, label %yes, label %end
yes:
  %past = add i64 %address, 4095
  %page = and i64 %past, -4096
  %skipped = sub i64 %page, %address
  %rest = sub i64 %bytes, %skipped
  ; MADV_HUGEPAGE
  %ignored = call i32 %advise(i64 %page, i64 %rest, i32 14)
  br label %end
end:
  ret void
}

; Keeps the block for the next run; frees it if another one is kept already.
define internal void @put_block(ptr %block) {
entry:
  %other = atomicrmw xchg ptr @idle, ptr %block acq_rel
  %none = icmp eq ptr %other, null
  br i1 %none, label %end, label %spare
spare:
  call void @free_block(ptr %other)
  br label %end
end:
  ret void
}

define internal void @free_block(ptr %block) {
  %raw = load ptr, ptr %block
  %free = load ptr, ptr @graphc_free
  call void %free(ptr %raw)
  ret void
}

; The template, copied if this block has an older one; then the data pointers of the arguments.
define internal void @fill_table(ptr %record, ptr %block, ptr %args) {
entry:
  %version.at = getelementptr i64, ptr %record, i64 3
  %copied.at = getelementptr i64, ptr %block, i64 1
  %version = load i64, ptr %version.at
  %copied = load i64, ptr %copied.at
  %current = icmp eq i64 %version, %copied
  br i1 %current, label %state, label %copy
copy:
  store i64 %version, ptr %copied.at
  call void @copy_template(ptr %record, ptr %block)
  br label %state
state:
  %times.at = getelementptr i64, ptr %record, i64 6
  %state.stop = getelementptr i64, ptr %block, i64 10
  %state.times = getelementptr i64, ptr %block, i64 11
  %times = load i64, ptr %times.at
  store i64 0, ptr %state.stop
  store i64 %times, ptr %state.times
  %table = getelementptr i64, ptr %block, i64 32
  %count.at = getelementptr i64, ptr %record, i64 10
  %slots = getelementptr i64, ptr %record, i64 11
  %count = load i64, ptr %count.at
  %offset = load i64, ptr @graphc_data_offset
  br label %next
next:
  %i = phi i64 [ 0, %state ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %one, label %end
one:
  %slot.at = getelementptr i64, ptr %slots, i64 %i
  %array.at = getelementptr ptr, ptr %args, i64 %i
  %slot = load i64, ptr %slot.at
  %array = load ptr, ptr %array.at
  %data.at = getelementptr i8, ptr %array, i64 %offset
  %data = load ptr, ptr %data.at
  %to = getelementptr ptr, ptr %table, i64 %slot
  store ptr %data, ptr %to
  %i.next = add i64 %i, 1
  br label %next
end:
  ret void
}

; The template with the addresses of this block's own state and arena.
define internal void @copy_template(ptr %record, ptr %block) {
entry:
  %slots.at = getelementptr i64, ptr %record, i64 1
  %template.at = getelementptr i64, ptr %record, i64 2
  %offset.at = getelementptr i64, ptr %record, i64 8
  %arena.slot.at = getelementptr i64, ptr %record, i64 9
  %slots = load i64, ptr %slots.at
  %template = load ptr, ptr %template.at
  %offset = load i64, ptr %offset.at
  %arena.slot = load i64, ptr %arena.slot.at
  %table = getelementptr i64, ptr %block, i64 32
  %state = getelementptr i64, ptr %block, i64 2
  %bytes = shl i64 %slots, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %table, ptr %template, i64 %bytes, i1 false)
  store ptr %state, ptr %table
  %none = icmp eq i64 %arena.slot, 0
  br i1 %none, label %end, label %set
set:
  %arena = getelementptr i8, ptr %block, i64 %offset
  %to = getelementptr ptr, ptr %table, i64 %arena.slot
  store ptr %arena, ptr %to
  br label %end
end:
  ret void
}

; 0 for a run that went well, the bytes of the run state for one that failed or was stopped, null for an exception.
define internal ptr @result_of(i64 %status, ptr %state) {
entry:
  switch i64 %status, label %failed [
    i64 0, label %fine
    i64 -2, label %raised
  ]
fine:
  %from.integer = load ptr, ptr @graphc_from_integer
  %number = call ptr %from.integer(i64 0)
  ret ptr %number
failed:
  %step.at = getelementptr i64, ptr %state, i64 10
  store i64 %status, ptr %step.at
  %from.bytes = load ptr, ptr @graphc_from_bytes
  %bytes = call ptr %from.bytes(ptr %state, i64 128)
  ret ptr %bytes
raised:
  ret ptr null
}

; The destructor of the capsule a record lives in. The kept block may be of this launcher's size.
define void @graphc_destroy(ptr %capsule) {
entry:
  %capsule.pointer = load ptr, ptr @graphc_capsule_pointer
  %record = call ptr %capsule.pointer(ptr %capsule, ptr null)
  %keeper.at = getelementptr i64, ptr %record, i64 4
  %keeper = load ptr, ptr %keeper.at
  %idle = atomicrmw xchg ptr @idle, ptr null acquire
  %none = icmp eq ptr %idle, null
  br i1 %none, label %rest, label %block
block:
  call void @free_block(ptr %idle)
  br label %rest
rest:
  %decref = load ptr, ptr @graphc_decref
  call void %decref(ptr %keeper)
  %free = load ptr, ptr @graphc_free
  call void %free(ptr %record)
  ret void
}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
