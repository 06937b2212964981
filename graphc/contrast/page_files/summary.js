// The answers: each question a newcomer asks, one sentence, one figure.

function answer(question, name, big, sentence, section) {
  const link = el("a", { href: `#${section}`, "aria-label": `More on: ${question}` }, "See how");
  return el("article", { class: "answer", "data-answer": name }, el("h2", {}, question), el("p", { class: "big" }, big), el("p", {}, sentence), link);
}

function lineShare(line, mode) {
  return line && known(line[`${mode}_share`]) ? [figure(`${mode}_share`, line[`${mode}_share`], percent(line[`${mode}_share`])), mode === "eager" ? " of an eager call" : " of a compiled one"] : [];
}

function slowestAnswer() {
  const { slowest_line: graph, slowest_line_eager: eager } = data.summary;
  const line = lineOf.get(graph) ?? lineOf.get(eager);
  if (!line) return answer("Which line is slowest?", "slowest", DASH, "The time of the lines was not measured.", "source");
  const shares = [lineShare(line, "eager"), lineShare(line, "graph")].filter((part) => part.length);
  const sentence = [chip(line.id, short(line.text.trim(), 60), { class: "chip code" }), " takes ", shares[0] ?? DASH, shares[1] ? [" and ", shares[1]] : [], "."];
  if (eager && graph && eager !== graph) sentence.push(" Eagerly, ", named(eager), " is slower still: ", lineShare(lineOf.get(eager), "eager"), ".");
  return answer("Which line is slowest?", "slowest", figure("slowest_line", line.id, `line ${line.line}`), sentence.flat(2), "source");
}

function fusedAnswer() {
  const { ops, kernels: steps, library_calls: calls, largest_kernel: largest } = data.summary;
  const kernel = kernelOf.get(largest);
  const sentence = [figure("ops", ops, count(ops)), " recorded ops run as ", figure("kernels", steps, plural(steps ?? 0, "step")), ", ", figure("library_calls", calls, count(calls)), " of them products and library calls."];
  if (kernel) sentence.push(" The largest, ", chip(largest, largest), `, does the work of ${plural(kernel.nodes.length, "op")}.`);
  return answer("What was fused?", "fused", `${plural(ops ?? 0, "op")} → ${plural(steps ?? 0, "step")}`, sentence, "kernels");
}

function passesAnswer() {
  const passes = data.stages.filter((stage) => stage.added || stage.removed);
  const acted = passes.filter((stage) => (stage.added ?? []).length + (stage.removed ?? []).length > 0);
  const all = passes.length + data.unchanged_passes.length;
  const told = [...acted].sort((a, b) => b.added.length + b.removed.length - a.added.length - a.removed.length).slice(0, 3);
  const parts = told.flatMap((stage, i) => [i ? "; " : " ", el("b", {}, stage.name), ` −${stage.removed.length} +${stage.added.length}`]);
  const sentence = acted.length ? [`${acted.length} of ${plural(all, "pass").replace("passs", "passes")} changed the graph:`, ...parts, acted.length > 3 ? "; …" : "."] : [`None of ${all} passes found anything to change.`];
  return answer("What did each pass do?", "passes", figure("passes", acted.length, `${acted.length} of ${all} passes`), sentence, "graph");
}

function memoryAnswer() {
  const { eager_peak_bytes: eager, plan_peak_bytes: plan } = data.summary;
  const less = known(eager) && known(plan) && eager > 0 ? 1 - plan / eager : null;
  const verdict = less === null ? "" : Math.abs(less) < 0.005 ? ": as much." : `: ${percent(Math.abs(less))} ${less > 0 ? "less" : "more"}.`;
  const sentence = ["At most ", figure("eager_peak_bytes", eager, bytes(eager)), " at once eagerly, ", figure("plan_peak_bytes", plan, bytes(plan)), " by the plan", verdict || "."];
  return answer("How much memory?", "memory", `${bytes(eager)} → ${bytes(plan)}`, sentence, "memory");
}

function breakEvenAnswer() {
  const { eager_ns: eager, graph_ns: graph, build_ns: build, break_even_calls: calls } = data.summary;
  const each = [figure("eager_ns", eager, time(eager)), " a call eagerly, ", figure("graph_ns", graph, time(graph)), " compiled; building took ", figure("build_ns", build, time(build)), "."];
  const big = known(calls) ? figure("break_even_calls", calls, `after ${plural(calls, "call")}`) : figure("break_even_calls", null, "never");
  const faster = known(eager) && known(graph) && graph > 0 ? eager / graph : null;
  const verdict = faster === null ? "" : faster >= 1 ? ` That is ${digits(faster)} times as fast.` : ` That is ${digits(1 / faster)} times as slow.`;
  return answer("When does compiling pay?", "break_even", big, [...each, verdict], "timelines");
}

function agreementAnswer() {
  const { agree, calls, largest_difference: most, largest_relative_difference: share, tolerance } = data.summary;
  const sentence = ["Over ", figure("calls", calls, plural(calls ?? 0, "call")), " the losses differ by at most ", figure("largest_difference", most, exact(most)), " (relative ", figure("largest_relative_difference", share, exact(share)), "; accepted ", figure("tolerance", tolerance, exact(tolerance)), ")."];
  const left = data.summary.left_behind.length;
  if (left) sentence.push(` But ${plural(left, "value")} of Python ${left === 1 ? "differs" : "differ"} afterwards.`);
  return answer("Do both ways agree?", "agree", figure("agree", agree, known(agree) ? (agree ? "yes" : "no") : DASH), sentence, "losses");
}

function drawSummary() {
  const { made } = data;
  byId("title").textContent = data.title;
  byId("made").textContent = [`graphc ${made.graphc}`, `backend ${made.backend}`, `Python ${made.python}`, made.processor, plural(made.threads, "thread"), made.date.replace("T", " ")].join(" · ");
  byId("answers").append(slowestAnswer(), breakEvenAnswer(), fusedAnswer(), memoryAnswer(), passesAnswer(), agreementAnswer());
}
