// Python's view of grid.h: nearsight.descriptors.bispectrum._native.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <array>
#include <optional>
#include <string>

#include "grid.h"

namespace nb = nanobind;

namespace {

template <class Shape>
using Doubles = nb::ndarray<const double, Shape, nb::c_contig, nb::device::cpu>;

// Keyboard interrupts and the progress bar reach the calling thread now and then.
struct Watcher {
    nb::object progress;
    bool raised = false;

    static int poll(void* context, double done) {
        Watcher& watcher = *static_cast<Watcher*>(context);
        nb::gil_scoped_acquire python;
        if (PyErr_CheckSignals() == 0) {
            if (watcher.progress.is_none()) return 0;
            PyObject* result = PyObject_CallFunction(watcher.progress.ptr(), "d", done);
            if (result != nullptr) {
                Py_DECREF(result);
                return 0;
            }
        }
        watcher.raised = true;
        return 1;
    }
};

template <class Real>
void bispectrum(nb::ndarray<Real, nb::ndim<4>, nb::c_contig, nb::device::cpu> out, Doubles<nb::shape<3, 3>> cell,
                Doubles<nb::shape<-1, 3>> positions, Doubles<nb::shape<-1>> weights, Doubles<nb::shape<-1>> cutoffs,
                std::array<int64_t, 3> shape, std::array<int64_t, 3> start, std::array<int64_t, 3> stop, int twojmax,
                double rfac0, bool switching, bool subtract_zero, double self_weight, int threads,
                std::optional<std::string> instruction_set, nb::object progress) {
    ns_request request{};
    for (int i = 0; i < 9; i++) request.cell[i] = cell.data()[i];
    request.atoms = int64_t(positions.shape(0));
    if (weights.shape(0) != positions.shape(0) || cutoffs.shape(0) != positions.shape(0)) {
        throw nb::value_error("weights, cutoffs: expected one number per atom");
    }
    request.positions = positions.data();
    request.weights = weights.data();
    request.cutoffs = cutoffs.data();
    int64_t components = 0;
    for (int j1 = 0; j1 <= twojmax && twojmax <= 20; j1++) {
        for (int j2 = 0; j2 <= j1; j2++) {
            for (int j = j1 - j2; j <= twojmax && j <= j1 + j2; j += 2) components += j >= j1;
        }
    }
    for (int k = 0; k < 3; k++) {
        request.shape[k] = shape[k];
        request.start[k] = start[k];
        request.stop[k] = stop[k];
        if (start[k] < 0 || stop[k] < start[k] || stop[k] > shape[k] || int64_t(out.shape(k)) != stop[k] - start[k]) {
            throw nb::value_error("out: expected the shape of a region within the grid");
        }
    }
    if (int64_t(out.shape(3)) != components) throw nb::value_error("out: expected one number per component");
    request.twojmax = twojmax;
    request.rfac0 = rfac0;
    request.switching = switching;
    request.subtract_zero = subtract_zero;
    request.self_weight = self_weight;
    request.threads = threads;
    request.instruction_set = instruction_set ? instruction_set->c_str() : nullptr;
    Watcher watcher{progress};
    request.poll = Watcher::poll;
    request.poll_context = &watcher;

    char message[512] = "";
    ns_status status;
    {
        nb::gil_scoped_release others;
        if constexpr (sizeof(Real) == 4) {
            status = ns_bispectrum_float32(&request, out.data(), message, sizeof message);
        } else {
            status = ns_bispectrum_float64(&request, out.data(), message, sizeof message);
        }
    }
    if (watcher.raised) throw nb::python_error();
    if (status == NS_NO_MEMORY) throw std::bad_alloc();
    if (status != NS_OK) throw nb::value_error(message);
}

template <class Real>
void define(nb::module_& module, const char* name) {
    using namespace nb::literals;
    module.def(name, bispectrum<Real>, "out"_a.noconvert(), "cell"_a, "positions"_a, "weights"_a, "cutoffs"_a,
               "shape"_a, "start"_a, "stop"_a, "twojmax"_a, "rfac0"_a, "switching"_a, "subtract_zero"_a,
               "self_weight"_a, "threads"_a, "instruction_set"_a = nb::none(), "progress"_a = nb::none());
}

}  // namespace

NB_MODULE(_native, module) {
    module.doc() = "The bispectrum kernel; called through nearsight.descriptors.native.";
    define<float>(module, "bispectrum_float32");
    define<double>(module, "bispectrum_float64");
    module.def(
        "kernel_facts",
        [](std::optional<std::string> instruction_set, int twojmax, int bytes) {
            ns_facts facts;
            if (ns_kernel_facts(instruction_set ? instruction_set->c_str() : nullptr, twojmax, bytes, &facts) != NS_OK) {
                throw nb::value_error("expected a kernel of this build and processor");
            }
            nb::dict result;
            result["lanes"] = facts.lanes;
            result["operations"] = facts.operations;
            result["neighbour_operations"] = facts.neighbour_operations;
            result["multiply_add_seconds"] = facts.multiply_add_seconds;
            return result;
        },
        nb::arg("instruction_set"), nb::arg("twojmax"), nb::arg("bytes"), "Operations of a kernel, for the benchmark.");
    module.def(
        "instruction_set",
        [](std::optional<std::string> name) -> std::optional<std::string> {
            const char* chosen = ns_instruction_set(name ? name->c_str() : nullptr);
            return chosen ? std::optional<std::string>(chosen) : std::nullopt;
        },
        nb::arg("name") = nb::none(), "The instruction set that a call with this name runs on, or None.");
}
