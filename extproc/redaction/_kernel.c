/* The inner loop of the redaction engine: threads over texts in which nothing is found.
 *
 * A table is a lazily filled copy of the part of one automaton that a mask can reach, as `kernel.py` numbers
 * it. `scan` moves live starts over texts, one after the other, and says what may go out after each. It
 * decides nothing: where a rule accepts, or anything else happens that the engine must look at, it stops
 * before that text, and the engine reads the text itself. So what it gives is what the engine would give.
 *
 * Written for the limited API of Python 3.11: one build serves every later version.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>

#ifndef SOURCE_DIGEST
#define SOURCE_DIGEST ""
#endif

/* Moves as kernel.py writes them; 0 is one that is not known yet. */
enum { UNKNOWN = 0, DEAD = 1, STOP = 2, FIRST = 3 };

#define CLASSES 256          /* numbers of character classes; 0 is the edge of the text */
/* Bounds, as domain/limits.py has them. */
#define STATES_MAX 4096      /* rows of one table: 2 MB */
#define CODE_POINTS 0x110000
#define PAGE 256
#define TEXT_CHARS_MAX 4096  /* longer texts are the engine's: it looks for candidates first */
#define HELD_CHARS_MAX 16384 /* above what any rule holds back; more is the engine's */
#define THREADS_MAX 64
#define STEPS_PER_CHAR 64    /* texts that cost more are the engine's, too */
#define STEPS_BASE 4096

typedef struct {
    PyObject_HEAD
    PyObject *step;      /* (state, class) -> move */
    PyObject *begin;     /* (class before, class) -> move */
    PyObject *classify;  /* (code point) -> class, 0 where it has no number below CLASSES */
    uint16_t *rows[STATES_MAX];
    uint16_t *starts[CLASSES];
    uint8_t *pages[CODE_POINTS / PAGE];
} Table;

typedef struct {
    Py_ssize_t start[THREADS_MAX];
    int state[THREADS_MAX];
    Py_ssize_t count;
} Threads;

/* --- what is not known yet ------------------------------------------------------------------------------ */

/* A callback's answer; -1 with an exception set. */
static long ask(PyObject *callback, long first, long second, long max) {
    PyObject *answer = second < 0 ? PyObject_CallFunction(callback, "l", first)
                                  : PyObject_CallFunction(callback, "ll", first, second);
    if (answer == NULL) return -1;
    long number = PyLong_AsLong(answer);
    Py_DECREF(answer);
    if (number == -1 && PyErr_Occurred()) return -1;
    if (number < 0 || number >= max) {
        PyErr_SetString(PyExc_ValueError, "a number out of range");
        return -1;
    }
    return number;
}

/* Where a state goes with a class. */
static long move(Table *table, long state, uint8_t taken) {
    uint16_t *row = table->rows[state];
    if (row == NULL) {
        row = PyMem_Calloc(CLASSES, sizeof *row);
        if (row == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        table->rows[state] = row;
    }
    if (row[taken] == UNKNOWN) {
        long found = ask(table->step, state, taken, STATES_MAX);
        if (found < 0) return -1;
        row[taken] = (uint16_t)found;
    }
    return row[taken];
}

/* The state after a first character, by the class before it. */
static long start(Table *table, uint8_t before, uint8_t taken) {
    uint16_t *row = table->starts[before];
    if (row == NULL) {
        row = PyMem_Calloc(CLASSES, sizeof *row);
        if (row == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        table->starts[before] = row;
    }
    if (row[taken] == UNKNOWN) {
        long found = ask(table->begin, before, taken, STATES_MAX);
        if (found < 0) return -1;
        row[taken] = (uint16_t)found;
    }
    return row[taken];
}

/* A character's class; 0 where the engine must read it. */
static long class_of(Table *table, Py_UCS4 code) {
    if (code >= CODE_POINTS) return 0;
    uint8_t *page = table->pages[code / PAGE];
    if (page == NULL) {
        page = PyMem_Calloc(PAGE, sizeof *page);
        if (page == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        table->pages[code / PAGE] = page;
    }
    if (page[code % PAGE] == 0) {
        long found = ask(table->classify, (long)code, -1, CLASSES);
        if (found < 0) return -1;
        page[code % PAGE] = (uint8_t)found;
    }
    return page[code % PAGE];
}

/* --- one text ------------------------------------------------------------------------------------------- */

/* Moves a thread over classes[at:length]: its state at the end, DEAD, STOP, or -1 with an exception set. */
static long run(Table *table, long state, const uint8_t *classes, Py_ssize_t at, Py_ssize_t length,
                long *steps) {
    for (; at < length; at++) {
        const uint16_t *row = table->rows[state];
        long next = row == NULL ? UNKNOWN : row[classes[at]];
        if (next == UNKNOWN) {
            next = move(table, state, classes[at]);
            if (next < 0) return -1;
        }
        if (--*steps < 0) return STOP;
        if (next < FIRST) return next;
        state = next;
    }
    return state;
}

static int keep(Threads *threads, Py_ssize_t at, long state) {
    if (threads->count == THREADS_MAX) return 0;
    threads->start[threads->count] = at;
    threads->state[threads->count++] = (int)state;
    return 1;
}

/* Reads a text of which `classes` are known. `held` characters stand before it from the oldest start on.
 * 1: `after` are the threads that live; 0: the engine must read it; -1: an exception is set. */
static int read_text(Table *table, const uint8_t *classes, Py_ssize_t length, Py_ssize_t held,
                     uint8_t before, const Threads *threads, Threads *after) {
    long steps = STEPS_BASE + STEPS_PER_CHAR * (long)length;
    after->count = 0;
    for (Py_ssize_t each = 0; each < threads->count; each++) {
        long state = run(table, threads->state[each], classes, 0, length, &steps);
        if (state < 0) return -1;
        if (state == STOP) return 0;
        if (state != DEAD && !keep(after, threads->start[each], state)) return 0;
    }
    for (Py_ssize_t at = 0; at < length; before = classes[at++]) {
        const uint16_t *row = table->starts[before];
        long state = row == NULL ? UNKNOWN : row[classes[at]];
        if (state == UNKNOWN) {
            state = start(table, before, classes[at]);
            if (state < 0) return -1;
        }
        if (state == DEAD) continue;
        if (state != STOP) state = run(table, state, classes, at + 1, length, &steps);
        if (state < 0) return -1;
        if (state == STOP) return 0;
        if (state != DEAD && !keep(after, held + at, state)) return 0;
    }
    return 1;
}

/* Fills `classes` for a text; 1, 0 where the engine must read it, -1 with an exception set. */
static int classify(Table *table, PyObject *text, Py_ssize_t length, Py_UCS4 *codes, uint8_t *classes) {
    if (PyUnicode_AsUCS4(text, codes, TEXT_CHARS_MAX, 0) == NULL) return -1;
    for (Py_ssize_t at = 0; at < length; at++) {
        long found = class_of(table, codes[at]);
        if (found <= 0) return (int)found;
        classes[at] = (uint8_t)found;
    }
    return 1;
}

/* --- several texts -------------------------------------------------------------------------------------- */

typedef struct {
    Table *table;
    PyObject *released;    /* list: one text per text read */
    PyObject *held;        /* what is held; empty without threads */
    PyObject *last;        /* the last text that was read and is not empty, borrowed; NULL before */
    Threads threads;
    uint8_t before;        /* the class of the last character */
    Py_ssize_t held_chars_max;
    Py_ssize_t read_chars;
    Py_UCS4 codes[TEXT_CHARS_MAX];
    uint8_t classes[TEXT_CHARS_MAX];
} Scan;

/* Lets `scan->held` and a text go up to `end`, and holds the rest. 0 with an exception set. */
static int release(Scan *scan, PyObject *text, Py_ssize_t length, Py_ssize_t held, Py_ssize_t end) {
    PyObject *out, *rest;
    if (held == 0 && end == length) {
        out = Py_NewRef(text);
        rest = PyUnicode_FromStringAndSize("", 0);
    } else {
        PyObject *all = held == 0 ? Py_NewRef(text) : PyUnicode_Concat(scan->held, text);
        if (all == NULL) return 0;
        out = PyUnicode_Substring(all, 0, end);
        rest = PyUnicode_Substring(all, end, held + length);
        Py_DECREF(all);
    }
    int failed = out == NULL || rest == NULL || PyList_Append(scan->released, out) < 0;
    Py_XDECREF(out);
    if (failed) {
        Py_XDECREF(rest);
        return 0;
    }
    Py_DECREF(scan->held);
    scan->held = rest;
    return 1;
}

/* Reads one text: 1, 0 where the engine must read it, -1 with an exception set. */
static int take(Scan *scan, PyObject *text) {
    if (!PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError, "a text must be a str");
        return -1;
    }
    Py_ssize_t length = PyUnicode_GetLength(text), held = PyUnicode_GetLength(scan->held);
    if (length < 0 || held < 0) return -1;
    if (length == 0) return PyList_Append(scan->released, text) < 0 ? -1 : 1;
    if (length > TEXT_CHARS_MAX || held > HELD_CHARS_MAX) return 0;
    int known = classify(scan->table, text, length, scan->codes, scan->classes);
    if (known <= 0) return known;
    Threads after;
    int done = read_text(scan->table, scan->classes, length, held, scan->before, &scan->threads, &after);
    if (done <= 0) return done;
    Py_ssize_t end = after.count ? after.start[0] : held + length;
    if (!release(scan, text, length, held, end)) return -1;
    for (Py_ssize_t each = 0; each < after.count; each++) after.start[each] -= end;
    scan->threads = after;
    scan->before = scan->classes[length - 1];
    scan->last = text;
    scan->read_chars += length;
    if (held + length - end > scan->held_chars_max) scan->held_chars_max = held + length - end;
    return 1;
}

/* The threads that the engine hands over, as pairs of start within `kept` and state. 0: an exception is set. */
static int take_threads(Scan *scan, PyObject *threads, Py_ssize_t kept) {
    Py_ssize_t count = PyTuple_Size(threads);
    Py_ssize_t least = 0;
    if (count < 0) return 0;
    if (count > THREADS_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many threads");
        return 0;
    }
    for (Py_ssize_t each = 0; each < count; each++) {
        PyObject *thread = PyTuple_GetItem(threads, each);
        Py_ssize_t at;
        int state;
        if (thread == NULL) return 0;
        if (!PyTuple_Check(thread)) {
            PyErr_SetString(PyExc_TypeError, "a thread must be a pair");
            return 0;
        }
        if (!PyArg_ParseTuple(thread, "ni", &at, &state)) return 0;
        if (at < least || at >= kept || (each == 0 && at != 0) || state < FIRST || state >= STATES_MAX) {
            PyErr_SetString(PyExc_ValueError, "a thread that stands nowhere");
            return 0;
        }
        least = at;
        keep(&scan->threads, at, state);
    }
    return 1;
}

static PyObject *given_threads(const Threads *threads) {
    PyObject *found = PyTuple_New(threads->count);
    for (Py_ssize_t each = 0; found != NULL && each < threads->count; each++) {
        PyObject *thread = Py_BuildValue("ni", threads->start[each], threads->state[each]);
        if (thread == NULL || PyTuple_SetItem(found, each, thread) < 0) Py_CLEAR(found);
    }
    return found;
}

/* What the engine must keep: what is held, or else the last character. */
static PyObject *given_kept(const Scan *scan, PyObject *kept) {
    if (scan->last == NULL) return Py_NewRef(kept);
    if (scan->threads.count) return Py_NewRef(scan->held);
    Py_ssize_t length = PyUnicode_GetLength(scan->last);
    return PyUnicode_Substring(scan->last, length - 1, length);
}

static PyObject *given(const Scan *scan, Py_ssize_t number, PyObject *kept_before) {
    PyObject *kept = given_kept(scan, kept_before);
    PyObject *threads = given_threads(&scan->threads);
    PyObject *result = NULL;
    if (kept != NULL && threads != NULL) {
        result = Py_BuildValue("nOOOnn", number, scan->released, kept, threads, scan->read_chars,
                               scan->held_chars_max);
    }
    Py_XDECREF(kept);
    Py_XDECREF(threads);
    return result;
}

/* scan(texts, first, kept, threads) */
static PyObject *table_scan(PyObject *self, PyObject *arguments) {
    PyObject *texts, *kept, *threads;
    Py_ssize_t first;
    if (!PyArg_ParseTuple(arguments, "O!nUO!", &PyTuple_Type, &texts, &first, &kept, &PyTuple_Type, &threads))
        return NULL;
    Scan *scan = PyMem_Malloc(sizeof *scan);
    if (scan == NULL) return PyErr_NoMemory();
    Py_ssize_t count = PyTuple_Size(texts), kept_chars = PyUnicode_GetLength(kept);
    PyObject *result = NULL;
    scan->table = (Table *)self;
    scan->last = NULL;
    scan->threads.count = 0;
    scan->before = 0;
    scan->held_chars_max = 0;
    scan->read_chars = 0;
    scan->released = PyList_New(0);
    scan->held = NULL;
    int done = 1;
    if (scan->released == NULL || first < 0 || !take_threads(scan, threads, kept_chars)) goto end;
    scan->held = scan->threads.count ? Py_NewRef(kept) : PyUnicode_FromStringAndSize("", 0);
    if (scan->held == NULL) goto end;
    if (kept_chars > 0) {
        long before = class_of(scan->table, PyUnicode_ReadChar(kept, kept_chars - 1));
        if (before < 0) goto end;
        scan->before = (uint8_t)before;
        done = before > 0;
    }
    Py_ssize_t at = first;
    while (done == 1 && at < count) {
        done = take(scan, PyTuple_GetItem(texts, at));
        if (done == 1) at++;
    }
    if (done >= 0) result = given(scan, at, kept);
end:
    Py_XDECREF(scan->released);
    Py_XDECREF(scan->held);
    PyMem_Free(scan);
    if (result == NULL && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "a number out of range");
    return result;
}

/* --- the type and the module ---------------------------------------------------------------------------- */

static int table_init(PyObject *self, PyObject *arguments, PyObject *named) {
    static char *names[] = {"step", "begin", "classify", NULL};
    PyObject *step, *begin, *classify;
    Table *table = (Table *)self;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "OOO", names, &step, &begin, &classify)) return -1;
    if (table->step != NULL) {
        PyErr_SetString(PyExc_TypeError, "a table is made once");
        return -1;
    }
    table->step = Py_NewRef(step);
    table->begin = Py_NewRef(begin);
    table->classify = Py_NewRef(classify);
    return 0;
}

static int table_traverse(PyObject *self, visitproc visit, void *arg) {
    Table *table = (Table *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(table->step);
    Py_VISIT(table->begin);
    Py_VISIT(table->classify);
    return 0;
}

static int table_clear(PyObject *self) {
    Table *table = (Table *)self;
    Py_CLEAR(table->step);
    Py_CLEAR(table->begin);
    Py_CLEAR(table->classify);
    return 0;
}

static void table_dealloc(PyObject *self) {
    Table *table = (Table *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    table_clear(self);
    for (size_t at = 0; at < STATES_MAX; at++) PyMem_Free(table->rows[at]);
    for (size_t at = 0; at < CLASSES; at++) PyMem_Free(table->starts[at]);
    for (size_t at = 0; at < CODE_POINTS / PAGE; at++) PyMem_Free(table->pages[at]);
    freefunc release_memory = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release_memory(self);
    Py_DECREF(type);
}

static PyMethodDef table_methods[] = {
    {"scan", table_scan, METH_VARARGS,
     "scan(texts, first, kept, threads) -> (next, released, kept, threads, read_chars, held_chars_max)"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_slots[] = {
    {Py_tp_doc, "Part of an automaton, as numbers."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, table_init},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_traverse, table_traverse},
    {Py_tp_clear, table_clear},
    {Py_tp_methods, table_methods},
    {0, NULL},
};

static PyType_Spec table_spec = {
    .name = "extproc.redaction._kernel.Table",
    .basicsize = sizeof(Table),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = table_slots,
};

static int fill_module(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &table_spec, NULL);
    if (type == NULL) return -1;
    int failed = PyModule_AddObjectRef(module, "Table", type);
    Py_DECREF(type);
    if (failed < 0 || PyModule_AddStringConstant(module, "SOURCE_DIGEST", SOURCE_DIGEST) < 0 ||
        PyModule_AddIntConstant(module, "DEAD", DEAD) < 0 || PyModule_AddIntConstant(module, "STOP", STOP) < 0 ||
        PyModule_AddIntConstant(module, "FIRST", FIRST) < 0 ||
        PyModule_AddIntConstant(module, "CLASSES", CLASSES) < 0 ||
        PyModule_AddIntConstant(module, "THREADS_MAX", THREADS_MAX) < 0 ||
        PyModule_AddIntConstant(module, "STATES_MAX", STATES_MAX) < 0 ||
        PyModule_AddIntConstant(module, "TEXT_CHARS_MAX", TEXT_CHARS_MAX) < 0)
        return -1;
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, fill_module}, {0, NULL}};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "extproc.redaction._kernel",
    .m_doc = "The inner loop of the redaction engine.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&module_def); }
