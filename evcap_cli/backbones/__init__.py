"""What a backbone is (``contract``), which ones belong together (``presets``), and getting them ready (``loading``)."""
