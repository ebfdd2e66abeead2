# What headrace_core.workflow.expression uses of cel-expr-python; the wheel has no py.typed.
