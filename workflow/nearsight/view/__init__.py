"""A prediction as one HTML page: structure, density, density of states, energies and origin.

`folder` reads a prediction and checks that its files belong together, `coarsen` reduces fields to what a browser can
handle, `page` puts numbers, script (*.js, on three.js in three/) and style into one file.
"""
