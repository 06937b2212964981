; The way in from Python and back: the GIL, signals, the clock, and the functions that Python calls.

; Python's C functions and the clock, filled in after loading (runtime.py).
@graphc_save_thread = global ptr null
@graphc_restore_thread = global ptr null
@graphc_check_signals = global ptr null
@graphc_thread_ident = global ptr null
@graphc_call_no_args = global ptr null
@graphc_call_one_arg = global ptr null
@graphc_decref = global ptr null
@graphc_as_pointer = global ptr null
@graphc_from_pointer = global ptr null
@graphc_from_integer = global ptr null
@graphc_clock = global ptr null
@graphc_clock_id = global i64 0
@graphc_main_thread = global i64 0

; PyMethodDef records (METH_FASTCALL) of the functions that Python calls.
%Method = type { ptr, ptr, i32, ptr }
@name.run = internal constant [4 x i8] c"run\00"
@name.run.held = internal constant [9 x i8] c"run_held\00"
@graphc_method_run = global %Method { ptr @name.run, ptr @run_released, i32 128, ptr null }
@graphc_method_run_held = global %Method { ptr @name.run.held, ptr @run_held, i32 128, ptr null }

; -------------------------------------------------------------------------------------------- Python and the clock

define internal void @take_gil(ptr %run) {
entry:
  %releases.at = getelementptr %Run, ptr %run, i64 0, i32 3
  %releases = load i64, ptr %releases.at
  %held = icmp eq i64 %releases, 0
  br i1 %held, label %end, label %take
take:
  %thread.at = getelementptr %Run, ptr %run, i64 0, i32 2
  %thread = load ptr, ptr %thread.at
  %restore = load ptr, ptr @graphc_restore_thread
  call void %restore(ptr %thread)
  br label %end
end:
  ret void
}

define internal void @drop_gil(ptr %run) {
entry:
  %releases.at = getelementptr %Run, ptr %run, i64 0, i32 3
  %releases = load i64, ptr %releases.at
  %held = icmp eq i64 %releases, 0
  br i1 %held, label %end, label %drop
drop:
  %thread.at = getelementptr %Run, ptr %run, i64 0, i32 2
  %save = load ptr, ptr @graphc_save_thread
  %thread = call ptr %save()
  store ptr %thread, ptr %thread.at
  br label %end
end:
  ret void
}

; A boundary between regions or iterations: the stop flag, and now and then the clock.
define internal i64 @boundary(ptr %run) {
entry:
  %state.at = getelementptr %Run, ptr %run, i64 0, i32 1
  %left.at = getelementptr %Run, ptr %run, i64 0, i32 4
  %state = load ptr, ptr %state.at
  %stop.at = getelementptr i64, ptr %state, i64 8
  %stop = load atomic i64, ptr %stop.at monotonic, align 8
  %go = icmp eq i64 %stop, 0
  br i1 %go, label %count, label %stopped
count:
  %left = load i64, ptr %left.at
  %less = sub i64 %left, 1
  store i64 %less, ptr %left.at
  %look = icmp eq i64 %less, 0
  br i1 %look, label %clock, label %fine
clock:
  %status = call i64 @look_at_clock(ptr %run)
  ret i64 %status
fine:
  ret i64 0
stopped:
  ret i64 -1
}

; Asks Python for signals every 50 ms. Reading the clock costs more than a boundary, so the looks get rarer, up to
; one in 64, while they are less than 1 ms apart, and more frequent when they are further apart.
define internal i64 @look_at_clock(ptr %run) {
entry:
  %left.at = getelementptr %Run, ptr %run, i64 0, i32 4
  %between.at = getelementptr %Run, ptr %run, i64 0, i32 5
  %looked.at = getelementptr %Run, ptr %run, i64 0, i32 6
  %asked.at = getelementptr %Run, ptr %run, i64 0, i32 7
  %now = call i64 @now()
  %between = load i64, ptr %between.at
  %looked = load i64, ptr %looked.at
  store i64 %now, ptr %looked.at
  %first = icmp eq i64 %looked, 0
  br i1 %first, label %begin, label %again
begin:
  store i64 %now, ptr %asked.at
  store i64 %between, ptr %left.at
  ret i64 0
again:
  %passed = sub i64 %now, %looked
  %long = icmp sgt i64 %passed, 1000000
  %quarter = lshr i64 %between, 2
  %twice = shl i64 %between, 1
  %shorter = call i64 @llvm.umax.i64(i64 %quarter, i64 1)
  %longer = call i64 @llvm.umin.i64(i64 %twice, i64 64)
  %next = select i1 %long, i64 %shorter, i64 %longer
  store i64 %next, ptr %between.at
  store i64 %next, ptr %left.at
  %asked = load i64, ptr %asked.at
  %since = sub i64 %now, %asked
  %due = icmp sgt i64 %since, 50000000
  br i1 %due, label %ask, label %fine
ask:
  store i64 %now, ptr %asked.at
  %status = call i64 @ask_for_signals(ptr %run)
  ret i64 %status
fine:
  ret i64 0
}

; Runs the handlers of signals that came, as Python does between two bytecodes: in the main thread only. -2 if one raised.
define internal i64 @ask_for_signals(ptr %run) {
entry:
  %ident = load ptr, ptr @graphc_thread_ident
  %this = call i64 %ident()
  %main = load i64, ptr @graphc_main_thread
  %is.main = icmp eq i64 %this, %main
  br i1 %is.main, label %ask, label %fine
ask:
  call void @take_gil(ptr %run)
  %check = load ptr, ptr @graphc_check_signals
  %result = call i32 %check()
  call void @drop_gil(ptr %run)
  %raised = icmp slt i32 %result, 0
  br i1 %raised, label %interrupted, label %fine
interrupted:
  ret i64 -2
fine:
  ret i64 0
}

; ----------------------------------------------------------------------------------------------------- entries

; Runs a stream on a table. Leaves the failed step in the run state, and returns the status.
define internal i64 @start(ptr %table, ptr %code, i64 %releases) {
entry:
  %run = alloca %Run, align 16
  call void @llvm.memset.p0.i64(ptr %run, i8 0, i64 64, i1 false)
  %state = load ptr, ptr %table
  %state.at = getelementptr %Run, ptr %run, i64 0, i32 1
  %releases.at = getelementptr %Run, ptr %run, i64 0, i32 3
  %left.at = getelementptr %Run, ptr %run, i64 0, i32 4
  %between.at = getelementptr %Run, ptr %run, i64 0, i32 5
  %failed.at = getelementptr i64, ptr %state, i64 10
  store ptr %table, ptr %run
  store ptr %state, ptr %state.at
  store i64 %releases, ptr %releases.at
  store i64 2, ptr %left.at
  store i64 2, ptr %between.at
  store i64 0, ptr %state
  store i64 0, ptr %failed.at
  call void @drop_gil(ptr %run)
  %status = call i64 @execute(ptr %run, ptr %code)
  call void @take_gil(ptr %run)
  %is.step = icmp sgt i64 %status, 0
  br i1 %is.step, label %note, label %end
note:
  store i64 %status, ptr %failed.at
  br label %end
end:
  ret i64 %status
}

; run(table, code): the addresses come as Python integers; the status goes back as one, or an exception is pending.
define internal ptr @enter(ptr %args, i64 %releases) {
entry:
  %as.pointer = load ptr, ptr @graphc_as_pointer
  %code.at = getelementptr ptr, ptr %args, i64 1
  %table.object = load ptr, ptr %args
  %code.object = load ptr, ptr %code.at
  %table = call ptr %as.pointer(ptr %table.object)
  %code = call ptr %as.pointer(ptr %code.object)
  %status = call i64 @start(ptr %table, ptr %code, i64 %releases)
  %raised = icmp eq i64 %status, -2
  br i1 %raised, label %error, label %fine
fine:
  %from.integer = load ptr, ptr @graphc_from_integer
  %result = call ptr %from.integer(i64 %status)
  ret ptr %result
error:
  ret ptr null
}

define internal ptr @run_released(ptr %self, ptr %args, i64 %n) {
  %result = call ptr @enter(ptr %args, i64 1)
  ret ptr %result
}

define internal ptr @run_held(ptr %self, ptr %args, i64 %n) {
  %result = call ptr @enter(ptr %args, i64 0)
  ret ptr %result
}

declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)
