# The programs and tests on top of the layers.
set(mt_everything mt_shrink mt_run mt_kernel mt_oracle mt_program mt_engine mt_machine)

mt_tests(allocator_tests FOLDERS allocator LIBRARIES ${mt_everything})
mt_tests(model_tests FOLDERS model LIBRARIES ${mt_everything})
