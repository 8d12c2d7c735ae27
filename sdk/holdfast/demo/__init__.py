"""What `holdfast demo` runs: `tasks` is user code as you would write it, `story` plays it, `claims` judges it.

tasks    an order pipeline; read this first
outside  the bank, the warehouse and the supplier that it calls; every call leaves a line in a file
story    starts the runs, kills a worker, retries a dead letter, and collects what the journal says
claims   what must be true of all that
"""
